from __future__ import annotations

from typing import Any

import pytest

from lighter.run.secrets import REDACTED, Secrets, missing

CANARY = "canary-9f3a-of-secrets"


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"password": CANARY}, {"password": REDACTED}),
        ({"db_password": 12345}, {"db_password": REDACTED}),
        ({"hf_token": CANARY}, {"hf_token": REDACTED}),
        ({"api_keys": ["a-secret", "another"]}, {"api_keys": [REDACTED, REDACTED]}),
        ({"url": f"https://me:{CANARY}@host/x?a=1"}, {"url": f"https://me:{REDACTED}@host/x?a=1"}),
        ({"url": f"s3://b/k?X-Amz-Signature={CANARY}&b=2"}, {"url": f"s3://b/k?X-Amz-Signature={REDACTED}&b=2"}),
        ({"key": "hf_" + "a1B2" * 9}, {"key": REDACTED}),
        ({"header": f"Bearer {CANARY}"}, {"header": f"Bearer {REDACTED}"}),
        ({"token": CANARY, "elsewhere": f"x {CANARY}"}, {"token": REDACTED, "elsewhere": f"x {REDACTED}"}),
        ({"x": f"$connect(token='{CANARY}', n=1)"}, {"x": f"$connect(token='{REDACTED}', n=1)"}),
    ],
)
def test_secrets_are_taken_out(config: Any, expected: Any) -> None:
    assert Secrets(config, environment={}).data(config) == expected


@pytest.mark.parametrize(
    "config",
    [
        {"token": "$os.environ['WANDB_API_KEY']", "password": "@vars::password", "secret": None},
        {"pad_token": "[PAD]", "eos_token": "<|endoftext|>", "max_tokens": 4096, "num_tokens": 12, "token": "cls"},
        {"tokenizer": "bert-base-uncased-and-more", "tokens": 100, "author": "me", "keys": ["a", "b"], "key": "value"},
        {"url": "https://host/path?page=2#top", "time": "12:30", "use_token": True, "monitor": "val/loss/epoch"},
    ],
)
def test_what_is_no_secret_stays(config: Any) -> None:
    assert Secrets(config, environment={}).data(config) == config


def test_values_of_the_environment_are_known() -> None:
    secrets = Secrets({}, environment={"MY_API_KEY": CANARY, "HOME": "/home/me"})
    assert secrets.text(f"/home/me said {CANARY}") == f"/home/me said {REDACTED}"


@pytest.mark.parametrize(
    ("text", "expected", "is_code"),
    [
        (f"+API_KEY = '{CANARY}'", f"+API_KEY = '{REDACTED}'", True),
        (f'login(password: str = "{CANARY}")', f'login(password: str = "{REDACTED}")', True),
        (f"model::hf_token={CANARY}", f"model::hf_token={REDACTED}", False),
        (f"password: {CANARY}\nb: 1", f"password: {REDACTED}\nb: 1", False),
        ("call(token=my_own_long_variable, x=1)", "call(token=my_own_long_variable, x=1)", True),
        ("password = getpass()\nsecret: str", "password = getpass()\nsecret: str", True),
        ('batch = {"tokens": "input_ids"}', 'batch = {"tokens": "input_ids"}', True),
    ],
)
def test_secrets_in_texts(text: str, expected: str, is_code: bool) -> None:
    assert Secrets(environment={}).source(text, is_code=is_code) == expected


def test_what_is_missing_is_found() -> None:
    assert list(missing({"a": {"b": [1, REDACTED]}, "c": f"x {REDACTED}", "d": 1})) == ["a::b::1", "c"]
