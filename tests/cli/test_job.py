import json

import jsonschema_rs

from batcher.cli.app import call


def test_the_schema_accepts_a_job_and_refuses_a_misspelt_one(capsys):
    assert call(["schema"]) == 0

    schema = jsonschema_rs.validator_for(json.loads(capsys.readouterr().out))
    job = {"name": "a", "model": "m", "input": {"files": ["x"]}}
    assert schema.is_valid(job)
    assert not schema.is_valid(job | {"modle": "m"})
    assert not schema.is_valid(job | {"limits": {"rpm": 3}})


def test_the_schema_explains_settings(capsys):
    call(["schema"])

    assert "Requests in flight at most." in capsys.readouterr().out
