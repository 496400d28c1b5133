"""What does the plain loop cost? N workers over one queue, a default aiohttp session, orjson, and nothing else.

No retries, no limiter, no output: the measure for everything that batcher adds. It asks once for each line of a JSONL
file (column `prompt`) and prints one JSON line.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import time
from collections import Counter
from pathlib import Path

import aiohttp
import orjson

Queue = asyncio.Queue[bytes]
HEADERS = {"Content-Type": "application/json", "x-goog-api-key": "bench"}


async def ask_all(prompts: Queue, *, url: str, concurrency: int) -> Counter[str]:
    """Send everything in the queue, and count the replies by HTTP status; `0` stands for no reply."""
    statuses: Counter[str] = Counter()
    ask = ask_for_a_stream if ":streamGenerateContent" in url else ask_for_all_at_once

    async def work(session: aiohttp.ClientSession) -> None:
        while not prompts.empty():
            prompt = orjson.loads(prompts.get_nowait())["prompt"]
            body = orjson.dumps({"contents": [{"role": "user", "parts": [{"text": prompt}]}]})
            statuses[await ask(session, url, body)] += 1

    connector = aiohttp.TCPConnector(limit=concurrency)
    async with aiohttp.ClientSession(connector=connector) as session:
        await asyncio.gather(*(work(session) for _ in range(concurrency)))
    return statuses


async def ask_for_all_at_once(session: aiohttp.ClientSession, url: str, body: bytes) -> str:
    """One request; its text and its counts are read, as any client would."""
    try:
        async with session.post(url, data=body, headers=HEADERS) as reply:
            read = orjson.loads(await reply.read())
            if reply.status == 200:
                assert read["candidates"][0]["content"]["parts"][0]["text"]
                assert read["usageMetadata"]["promptTokenCount"]
            return str(reply.status)
    except aiohttp.ClientError:
        return "0"


async def ask_for_a_stream(session: aiohttp.ClientSession, url: str, body: bytes) -> str:
    """One request; its text is put together from the events, as any client would."""
    try:
        async with session.post(url, data=body, headers=HEADERS) as reply:
            if reply.status != 200:
                orjson.loads(await reply.read())
                return str(reply.status)
            text, event = "", {}
            async for line in reply.content:
                if line.startswith(b"data: "):
                    event = orjson.loads(line[6:])
                    text += event["candidates"][0]["content"]["parts"][0]["text"]
            assert text
            assert event["candidates"][0]["finishReason"]
            assert event["usageMetadata"]["promptTokenCount"]
            return "200"
    except aiohttp.ClientError:
        return "0"


async def run(
    rows: bytes, *, base_url: str, model: str, concurrency: int, as_stream: bool = False
) -> dict[str, object]:
    """Ask for every row, and measure from the first request to the last reply."""
    prompts: Queue = asyncio.Queue()
    for line in rows.splitlines():
        prompts.put_nowait(line)
    count = prompts.qsize()
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    verb = "streamGenerateContent?alt=sse" if as_stream else "generateContent"
    statuses = await ask_all(prompts, url=f"{base_url}/v1beta/models/{model}:{verb}", concurrency=concurrency)
    wall_s, cpu_s = time.perf_counter() - wall_s, time.process_time() - cpu_s
    return {
        "requests": count,
        "statuses": statuses,
        "wall_s": round(wall_s, 4),
        "rps": round(count / wall_s, 1),
        "cpu_s": round(cpu_s, 4),
        "cpu_us_per_request": round(cpu_s / count * 1e6, 1),
        "rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
    }


def main() -> None:
    """Read the command line, run once, print one JSON line."""
    parser = argparse.ArgumentParser(description="The plain aiohttp loop: one JSON line of figures.")
    parser.add_argument("-i", "--input", type=Path, required=True, help="JSONL with a column `prompt`")
    parser.add_argument("--base-url", required=True)
    parser.add_argument("-m", "--model", default="gemini-2.5-flash")
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--stream", action="store_true", help="ask for events and read them as they come")
    given = parser.parse_args()
    asking = run(
        given.input.read_bytes(),
        base_url=given.base_url,
        model=given.model,
        concurrency=given.concurrency,
        as_stream=given.stream,
    )
    figures = asyncio.run(asking)
    print(orjson.dumps(figures).decode())


if __name__ == "__main__":
    main()
