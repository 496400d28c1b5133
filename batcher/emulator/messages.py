"""Which fields does each message of the protocol have, and what is in them?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

SCALARS = ("string", "strings", "bytes", "bool", "number", "integer", "object")
ANY = "any"


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One field of a message.

    Attributes:
        name: canonical, in snake_case.
        kind: one of SCALARS (`object` is data of the user), ANY for what is not looked into, else the message it holds.
        repeated: whether it holds a list of them.
    """

    name: str
    kind: str
    repeated: bool = False


def _camel(snake: str) -> str:
    head, *rest = snake.split("_")
    return head + "".join(word.capitalize() for word in rest)


def _message(kinds: Mapping[str, str]) -> dict[str, Field]:
    """Every accepted spelling -> its field; `kinds` maps a kind (with * when repeated) to the names of its fields."""
    return {
        spelling: Field(name=name, kind=kind.removesuffix("*"), repeated=kind.endswith("*"))
        for kind, names in kinds.items()
        for name in names.split()
        for spelling in (name, _camel(name))
    }


FIELDS: Mapping[str, Mapping[str, Field]] = {
    "request": _message(
        {
            "string": "model cached_content service_tier continuation_token",
            "bool": "store",
            "content*": "contents",
            "content": "system_instruction",
            "tool*": "tools",
            "tool_config": "tool_config",
            "safety*": "safety_settings",
            "generation": "generation_config",
            "any": "labels",
        }
    ),
    "count": _message({"string": "model", "content*": "contents", "request": "generate_content_request"}),
    "content": _message({"string": "role", "part*": "parts"}),
    "part": _message(
        {
            "string": "text thought_signature",
            "bool": "thought",
            "blob": "inline_data",
            "file": "file_data",
            "call": "function_call",
            "response": "function_response",
            "any": "executable_code code_execution_result tool_call tool_response video_metadata media_resolution "
            "part_metadata audio_transcription media_processing speech_metadata document_metadata "
            "spreadsheet_metadata audio_metadata",
        }
    ),
    "blob": _message({"string": "mime_type display_name", "bytes": "data"}),
    "file": _message({"string": "mime_type file_uri display_name"}),
    "call": _message({"string": "id name", "any": "args"}),
    "response": _message({"string": "id name scheduling", "bool": "will_continue", "any": "response parts"}),
    "tool": _message(
        {
            "declaration*": "function_declarations",
            "any": "google_search google_search_retrieval code_execution url_context google_maps file_search "
            "computer_use mcp_servers",
        }
    ),
    "declaration": _message(
        {
            "string": "name description behavior",
            "object": "parameters parameters_json_schema response response_json_schema",
        }
    ),
    "tool_config": _message(
        {
            "calling": "function_calling_config",
            "bool": "include_server_side_tool_invocations",
            "any": "retrieval_config",
        }
    ),
    "calling": _message({"string": "mode", "strings": "allowed_function_names"}),
    "safety": _message({"string": "category threshold"}),
    "generation": _message(
        {
            "number": "temperature top_p top_k presence_penalty frequency_penalty",
            "integer": "candidate_count max_output_tokens seed logprobs",
            "bool": "response_logprobs enable_enhanced_civic_answers enable_affective_dialog",
            "string": "response_mime_type media_resolution",
            "thinking": "thinking_config",
            "strings": "stop_sequences response_modalities",
            "object": "response_schema response_json_schema",
            "any": "speech_config image_config audio_transcription_config response_format translation_config",
        }
    ),
    "thinking": _message({"bool": "include_thoughts", "integer": "thinking_budget", "string": "thinking_level"}),
}
"""Message -> accepted spelling -> field: one look-up a key on the hot path."""
