"""What may a job say? One frozen `Job`; its JSON Schema is what editors complete from.

Names of generation settings, tools and safety settings are the Gemini API's own snake_case names; the rest are the
design's words. Every unit is in the name. Unknown keys are refused: a misspelt setting must not cost a night.
"""

from __future__ import annotations

import enum
import warnings
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from batcher.job.budget import Budget


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class InputFormat(enum.StrEnum):
    """How an input file is written."""

    AUTO = "auto"
    JSONL = "jsonl"
    JSON = "json"  # one array
    CSV = "csv"
    TSV = "tsv"
    TEXT = "text"  # one prompt a line
    PARQUET = "parquet"


class InputShape(enum.StrEnum):
    """What a row of the input is (reference of shapes: `rows/shapes.py`)."""

    AUTO = "auto"
    GEMINI_BATCH = "gemini-batch"
    VERTEX_BATCH = "vertex-batch"
    CONTENTS = "contents"
    GEMINI_TUNING = "gemini-tuning"
    OPENAI_BATCH = "openai-batch"
    MESSAGES = "messages"
    SHAREGPT = "sharegpt"
    PREFERENCE = "preference"
    PROMPT_COMPLETION = "prompt-completion"
    ALPACA = "alpaca"
    OPENAI_EVALS = "openai-evals"
    INSPECT = "inspect"
    PROMPT = "prompt"
    TABLE = "table"


class Input(_Section):
    """`[input]`: where the rows come from."""

    files: Annotated[tuple[str, ...], Field(min_length=1)]
    """Files, folders or globs, in this order; relative to the job file. `pypi:PACKAGE==VERSION/path/in/package` reads
    a file of an installed package, `-` standard input."""
    sha256: str | None = None
    """Expected SHA-256 of a single input file as it lies on disk; anything else is refused."""
    format: InputFormat = InputFormat.AUTO
    """`auto` goes by the file's name; standard input by its first bytes."""
    shape: InputShape = InputShape.AUTO
    """`auto` goes by the keys of the first rows."""
    id: str | None = None
    """Column that identifies a row; `id`, `key`, `custom_id` and `task_id` are found without it. Named here, it must be
    unique: rows that are called the same are refused."""
    max_row_bytes: Annotated[int, Field(gt=0)] = 20_000_000
    """A longer row fails by itself; it is never held in memory whole."""
    media_root: str | None = None
    """Folder of the media that rows name by path, relative to the job file; nothing outside of it is read.
    `pypi:PACKAGE==VERSION/path/in/package` is a folder of an installed package. The folder of the input files unless
    set."""
    strict: bool = False
    """Refuse the whole input, before anything is sent, when one row cannot be read or asks for what cannot be sent."""


class Prompt(_Section):
    """`[prompt]`: how a row becomes a prompt."""

    template: str | None = None
    """Jinja2 over the row's columns, e.g. `Translate: {{ text }}`."""
    template_file: str | None = None
    """The template in a file of its own, relative to the job file."""
    system: str | None = None
    """System instruction; a template like `template`."""
    system_file: str | None = None
    """The system instruction in a file of its own."""
    overrides: dict[str, str] = Field(default_factory=dict)
    """Setting -> column: the row's own value of a generation setting (`temperature = "temp"`) or of `model`; null in
    the column, or an empty field of a CSV file, keeps the job's."""
    media: tuple[str, ...] | None = None
    """Columns with pictures, sounds, documents: bytes, base64, `{bytes, path}`, paths, `data:` URLs, or addresses of
    uploaded files as `{file_uri, mime_type}`; one or a list of them.
    `image`, `images`, `audio` and `pdf` are found without it; `[]` sends none."""
    media_place: Literal["before", "after"] = "before"
    """Where media stand that the template does not print: before the text or after it."""
    media_optional: bool = False
    """Also ask rows that bring no medium; they fail otherwise."""


class Generation(_Section):
    """`[generation]`: `generation_config`, field for field."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: float | None = None
    candidate_count: Annotated[int, Field(ge=1)] | None = None
    max_output_tokens: Annotated[int, Field(ge=1)] | None = None
    stop_sequences: tuple[str, ...] | None = None
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    response_logprobs: bool | None = None
    logprobs: int | None = None
    response_mime_type: str | None = None
    response_schema: dict[str, Any] | None = None
    response_json_schema: dict[str, Any] | None = None
    response_modalities: tuple[str, ...] | None = None
    media_resolution: str | None = None
    speech_config: dict[str, Any] | None = None
    thinking_config: dict[str, Any] | None = None
    image_config: dict[str, Any] | None = None
    enable_enhanced_civic_answers: bool | None = None
    audio_transcription_config: dict[str, Any] | None = None


class RequestFields(_Section):
    """`[request]`: what else a GenerateContentRequest may hold."""

    tools: tuple[dict[str, Any], ...] | None = None
    tool_config: dict[str, Any] | None = None
    safety_settings: tuple[dict[str, Any], ...] | None = None
    cached_content: str | None = None
    service_tier: Literal["standard", "flex", "priority"] | None = None
    send_labels: bool = False
    """Also put `[labels]` into the request body."""


class Provider(enum.StrEnum):
    """Presets of base_url, auth, dialect and key variable."""

    GOOGLE = "google"
    VISIONCODER = "visioncoder"


class Auth(enum.StrEnum):
    """Which header carries the key."""

    X_GOOG_API_KEY = "x-goog-api-key"
    BEARER = "bearer"


class Dialect(enum.StrEnum):
    """How the body is written: `google` nested camelCase, `flat` everything on top in snake_case with `stream`."""

    GOOGLE = "google"
    FLAT = "flat"


class Stream(enum.StrEnum):
    """How an endpoint is asked for its replies. In which format they come, their first byte tells."""

    OFF = "off"  # whole
    SSE = "sse"  # `:streamGenerateContent?alt=sse`
    JSON = "json"  # `:streamGenerateContent`: an array from Google, an object a line from flat endpoints


class EndpointLimits(_Section):
    """`[endpoint.limits]`: as of `[limits]`, for one endpoint."""

    concurrency: Annotated[int, Field(ge=1, le=10_000)] | None = None
    requests_per_minute: Annotated[float, Field(gt=0)] | None = None
    input_tokens_per_minute: Annotated[float, Field(gt=0)] | None = None
    requests_per_day: Annotated[int, Field(gt=0)] | None = None


class Endpoint(_Section):
    """`[endpoint]`: whom to ask, or `[[endpoint]]`, once for each, where several share the rows.

    Unset values come from the provider's preset (`job/load.py`).
    """

    provider: Provider = Provider.GOOGLE
    base_url: str | None = None
    """Scheme and host; a trailing `/v1beta` or `/v1beta/models` is understood. https, or http to loopback."""
    api_version: str | None = None
    """`v1beta` unless set."""
    auth: Auth | None = None
    dialect: Dialect | None = None
    verbless: bool = False
    """Post to `models/{model}` without `:generateContent`."""
    stream: Stream = Stream.OFF
    """Ask for streams, `sse` or `json`, where an endpoint sends nothing else or cuts off what is silent for long. The
    answers are the same, so this may change between two runs of a directory."""
    key_file: str | None = None
    """A file with the key, readable by its owner only. Never the key itself."""
    key_command: tuple[str, ...] | None = None
    """A command that prints the key."""
    key_env: Annotated[str, Field(min_length=1)] | None = None
    """The environment variable that holds the key, where it is not the provider's own."""
    project: str = ""
    """Names the quota's owner in the ledger; two runs with one project share its quotas. Unless set, those with one key
    do."""
    weight: Annotated[float, Field(gt=0, le=1000)] = 1.0
    """Its share of the requests, against the other endpoints."""
    limits: EndpointLimits | None = None
    """`[endpoint.limits]`: what this endpoint allows; what is not said here, `[limits]` says."""
    trust_env: bool = False
    """Take proxies and netrc from the environment."""


class OnDayQuota(enum.StrEnum):
    """What a run does once nothing more may be sent today."""

    STOP = "stop"  # it ends with exit code 4 and says when to type the same command again
    WAIT = "wait"  # it stays and goes on when the quota is reset


class Limits(_Section):
    """`[limits]`: what the endpoint allows us, for each model."""

    concurrency: Annotated[int, Field(ge=1, le=10_000)] = 64
    """Requests in flight at most."""
    requests_per_minute: Annotated[float, Field(gt=0)] | None = None
    input_tokens_per_minute: Annotated[float, Field(gt=0)] | None = None
    requests_per_day: Annotated[int, Field(gt=0)] | None = None
    shared: bool = True
    """Share these with the other runs of this user on this machine that ask the same model for the same project, or
    with the same key; together they stay below them."""
    on_day_quota: OnDayQuota = OnDayQuota.STOP
    """Once a day quota is used up, by our count or by what the endpoint says: `stop` ends the run with exit code 4,
    and it says when to go on; `wait` sits it out, until midnight in Los Angeles unless the endpoint names another
    time. Rows that somebody else may answer go on meanwhile."""
    max_request_bytes: Annotated[int, Field(gt=0, le=104_857_600)] = 20_971_520
    """A request whose body is longer fails by itself, unsent. Google takes 100 MiB, proxies often 20 MiB or less."""


class Retry(_Section):
    """`[retry]`: how often and how long."""

    attempts: Annotated[int, Field(ge=1, le=100)] = 5
    """Counted attempts a task; a 429 and a connection that never opened do not count, nor what shows that the endpoint
    is still out."""
    max_backoff_s: Annotated[float, Field(gt=0)] = 60.0
    max_hint_s: Annotated[float, Field(gt=0)] = 300.0
    """A server's own hint is believed up to here."""
    invalid_attempts: Annotated[int, Field(ge=1, le=100)] = 3
    """Answers of one task that may miss `[output] schema` before its row is `invalid`; they do not count above."""
    row_deadline_s: Annotated[float, Field(gt=0)] = 1800.0
    """Active time of one task over all its attempts; that of an outage is not."""
    max_outage_s: Annotated[float, Field(gt=0)] = 21_600.0
    """An endpoint that does not answer for longer ends the run, with exit code 4: the same command goes on."""
    probe_after_s: Annotated[float, Field(gt=0)] = 5.0
    """One row is asked after so long, give or take a half, to see whether an outage is over; each one that fails
    doubles it, up to 80 s (and a half)."""


class Timeouts(_Section):
    """`[timeouts]`: of one request, monotonic."""

    connect_s: Annotated[float, Field(gt=0)] = 10.0
    first_byte_s: Annotated[float, Field(gt=0)] = 300.0
    body_s: Annotated[float, Field(gt=0)] = 60.0
    """The whole body, from its first byte; of a stream, each silence."""
    total_s: Annotated[float, Field(gt=0)] = 600.0
    max_body_bytes: Annotated[int, Field(gt=0)] = 33_554_432
    """Decompressed; a longer reply is cut off."""


class SchemaField(enum.StrEnum):
    """Which field of `generation_config` carries `[output] schema`."""

    RESPONSE_JSON_SCHEMA = "response_json_schema"
    RESPONSE_SCHEMA = "response_schema"
    NONE = "none"


with warnings.catch_warnings():
    # `BaseModel.schema` is pydantic's long deprecated method; the setting has the word that its users say.
    warnings.filterwarnings("ignore", 'Field name "schema"', UserWarning)

    class Output(_Section):
        """`[output]`: what is written where, and what each answer has to be."""

        dir: str | None = None
        """The run directory, relative to where the command runs; `out/<name>` unless set."""
        state_dir: str | None = None
        """Local disk for the journal when `dir` is a network disk."""
        store_prompt: bool = True
        raw: bool = False
        """Also keep each raw reply body in the `raw` column."""
        schema: str | dict[str, Any] | None = None  # type: ignore[assignment]  # hides pydantic's method, see above
        """The JSON Schema that every answer must satisfy: a file, relative to the job file; `module:Model` for a
        pydantic model or a dict that can be imported from there; or the schema itself."""
        schema_field: SchemaField | None = None
        """How it is sent: `response_json_schema` (dialect `google` unless set), `response_schema`, the OpenAPI subset
        (dialect `flat` unless set), or `none`: the prompt has to ask for JSON, and a code fence around it is taken
        off."""
        license: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 .+_-]{0,99}$")] | None = None
        """The licence of the output, for its dataset card: an identifier of the hub such as `cc-by-4.0`, or a name of
        your own. There is no default: it is yours to state."""


class Run(_Section):
    """`[run]`: when it counts as done."""

    max_failed: Annotated[int, Field(ge=0)] | Annotated[str, Field(pattern=r"^\d+(\.\d+)?%$")] = 0
    """Failed rows tolerated by exit code 0: a count, or a share such as `"1%"`."""
    drain_s: Annotated[float, Field(ge=0)] = 25.0
    """How long SIGTERM lets requests in flight finish."""


def _two_spellings(schema: dict[str, Any]) -> None:
    """Let a job file's schema take `[endpoint]` and `[[endpoint]]`; that there are two fields is our affair."""
    found = schema["properties"]
    of_one = found.pop("endpoints")["items"]
    of_many = {"type": "array", "items": dict(of_one), "minItems": 1}
    told = {name: value for name, value in found["endpoint"].items() if name != "$ref"}
    found["endpoint"] = {**told, "anyOf": [dict(of_one), of_many]}


class Job(_Section):
    """What the user wants, whole.

    Identity: everything that can change an answer or the meaning of a column is part of `job/fingerprint.py`'s hash;
    limits, budget, retry, timeouts, keys and tolerance are not, so that they may change between two runs of the same
    directory.
    """

    model_config = ConfigDict(json_schema_extra=_two_spellings)

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    model: Annotated[str, Field(min_length=1)]
    """Model id, with or without `models/`."""
    fallback_models: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    """Whom to ask, in this order, once the one before has used up its day or is not served; the `model` column says who
    answered. Rows that name a model of their own have no other."""
    samples: Annotated[int, Field(ge=1, le=32_767)] = 1
    """How often each row is asked."""
    dedup: bool = False
    """Ask identical requests once: the rows that repeat one share its answer and cost 0. Off where `samples` is above
    1: samples are meant to differ."""
    reuse: tuple[str, ...] = ()
    """Run directories whose answers to the same requests are taken over at cost 0, the first that has one; relative to
    where the command runs. `OUT.preview` is looked into without being named."""
    input: Input
    prompt: Prompt = Prompt()
    generation: Generation = Generation()
    request: RequestFields = RequestFields()
    endpoint: Endpoint = Endpoint()
    endpoints: Annotated[tuple[Endpoint, ...], Field(max_length=64)] = ()
    """Filled from `[[endpoint]]` where there are several; `endpoint` is then the first of them."""
    limits: Limits = Limits()
    budget: Budget = Budget()
    retry: Retry = Retry()
    timeouts: Timeouts = Timeouts()
    output: Output = Output()
    run: Run = Run()
    labels: dict[str, str] = Field(default_factory=dict)
    """Free key = value pairs, on every row and every ledger line."""

    @property
    def asked(self) -> tuple[Endpoint, ...]:
        """All endpoints, one or several."""
        return self.endpoints or (self.endpoint,)
