from __future__ import annotations

import random
import re
import string
from pathlib import Path
from typing import Any

import pytest
import yaml

from lighter.runs.secrets import REDACTED, Secrets, missing

CANARY = "canary-9f3a-of-secrets"
ROOT = Path(__file__).parents[2]
HEX, BASE62 = "0123456789abcdef", string.ascii_letters + string.digits


def random_text(length: int, alphabet: str = BASE62) -> str:
    """Made here: a file with a literal key would be refused by the hosts of repositories."""
    return "a1" + "".join(random.Random(length).choices(alphabet, k=length - 2))


FORMATS = {
    "npm": "npm_" + random_text(36),
    "SendGrid": f"SG.{random_text(22)}.{random_text(43)}",
    "Docker": "dckr_pat_" + random_text(27),
    "PyPI": "pypi-AgEIcHlwaS5vcmc" + random_text(80),
    "Google, access": "ya29." + random_text(60),
    "Google, client": "GOCSPX-" + random_text(28),
    "Google, API": "AIza" + random_text(35),
    "Telegram": "1234567890:" + random_text(35),
    "Databricks": "dapi" + random_text(32, HEX),
    "Stripe": "sk_" + "live_" + random_text(24),
    "Stripe, hook": "whsec_" + random_text(32),
    "Shopify": "shpat_" + random_text(32, HEX),
    "GitHub": "ghp_" + random_text(36),
    "GitHub, new": "github_pat_" + random_text(60),
    "GitLab": "glpat-" + random_text(20),
    "Hugging Face": "hf_" + random_text(34),
    "OpenAI": "sk-proj-" + random_text(48) + "A",
    "Anthropic": "sk-ant-api03-" + random_text(90) + "A",
    "DeepSeek": "sk-" + random_text(32, HEX),
    "AWS": "AKIA" + "ABCDEFGH" * 2,
    "Twilio": "SK" + random_text(32, HEX),
    "Slack": "xoxb-123456789012-" + random_text(24),
    "Neptune": "eyJhcGlf" + random_text(60) + "==",
    "JWT": f"eyJ{random_text(20)}.eyJ{random_text(40)}.{random_text(30)}",
    "private key": f"-----BEGIN RSA PRIVATE KEY-----\n{random_text(64)}\n-----END RSA PRIVATE KEY-----",
}
IN_TEXTS = [  # what is before the secret, the secret, what follows
    ("https://hooks.slack.com/services/", f"T0000/B0000/{random_text(24)}", ""),
    ("https://discord.com/api/webhooks/", f"123456789012345678/{random_text(68)}", " failed"),
    ("https://api.telegram.org/bot", "1234567890:" + random_text(35), " failed"),
    ("AccountName=me;AccountKey=", random_text(86) + "==", ";EndpointSuffix=core.windows.net"),
    ("Server=db;Uid=sa;PWD=", "hunter2", ";Encrypt=yes"),
    ("Server=db; User Id = sa; Password = ", "hunter2", ";"),
    ("host=db user=me password=", "hunter2", " dbname=x"),
    ("python train.py --token ", CANARY, " --lr 3"),
    ("run --password=", "hunter2", ""),
    ("run --password ", "hunter2", " -v"),
    ('run --api-key "', "hunter2", '" -v'),
    ("curl -H 'X-API-Key: ", "hunter2", "'"),
    ("Authorization: Bearer ", CANARY, ""),
    ("export WANDB_API_KEY=", "hunter2", "; python train.py"),
    ("postgresql://me:", "p@ss:word", "@host:5432/db"),
    ("https://", random_text(32, HEX), "@sentry.io/1"),
    ("https://host/x?a=1&access_token=", "hunter2", "&b=2"),
    ("model::passwords::db=", "hunter2", ""),
    ("vars::wandb::key=", random_text(40, HEX), ""),
    ("failed with password: ", "hunter2", ", user me"),
    ('{"clientSecret": "', "hunter2", '", "id": 3}'),
]


@pytest.mark.parametrize("secret", FORMATS.values(), ids=FORMATS)
def test_formats_are_known_wherever_they_stand(secret: str) -> None:
    secrets = Secrets(environment={})
    assert secrets.data({"x": [secret], secret: f"$f('{secret}')"}) == {"x": [REDACTED], REDACTED: f"$f('{REDACTED}')"}
    assert secrets.text(f"a = {secret} b") == f"a = {REDACTED} b"
    assert secrets.text(f"a = '{secret}'", is_code=True) == f"a = '{REDACTED}'"


@pytest.mark.parametrize(("before", "secret", "after"), IN_TEXTS)
def test_places_in_texts_are_known(before: str, secret: str, after: str) -> None:
    text = Secrets(environment={}).text(before + secret + after)
    assert secret not in text
    assert text == before + REDACTED + after
    assert Secrets(environment={}).text(text) == text, "once more changes nothing"
    assert Secrets(environment={}).data({"x": before + secret + after}) == {"x": text}


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"password": CANARY}, {"password": REDACTED}),
        ({"db_password": 12345}, {"db_password": REDACTED}),
        ({"hf_token": CANARY}, {"hf_token": REDACTED}),
        ({"api_keys": ["a-secret", "another"]}, {"api_keys": [REDACTED, REDACTED]}),
        ({"api_keys": {"a": "x", "b": [{"c": "y"}]}}, {"api_keys": {"a": REDACTED, "b": [{"c": REDACTED}]}}),
        ({"passwords": {"db": 7, "on": True}}, {"passwords": {"db": REDACTED, "on": True}}),
        ({"tokens": {"hf": CANARY, "pad": "[PAD]"}}, {"tokens": {"hf": REDACTED, "pad": "[PAD]"}}),
        ({"x-api-key": "x", "apiKey": "y", "pwd": "z"}, {"x-api-key": REDACTED, "apiKey": REDACTED, "pwd": REDACTED}),
        ({"signing_key": "x", "encryption_key": "y"}, {"signing_key": REDACTED, "encryption_key": REDACTED}),
        ({"hmac_key": "x", "API_KEY_2": "y"}, {"hmac_key": REDACTED, "API_KEY_2": REDACTED}),
        ({"wandb": {"key": CANARY, "project": "x"}}, {"wandb": {"key": REDACTED, "project": "x"}}),
        ({"api": {"key": "x"}}, {"api": {"key": REDACTED}}),
        (
            {"secret": {"_target_": "pydantic.SecretStr", "_args_": ["hunter2"]}},
            {"secret": {"_target_": "pydantic.SecretStr", "_args_": [REDACTED]}},
        ),
        ({"password": "$'hunter2'"}, {"password": REDACTED}),
        ({"args": ["--token", CANARY, "--lr", "1"]}, {"args": ["--token", REDACTED, "--lr", "1"]}),
        ({"url": f"https://me:{CANARY}@host/x?a=1"}, {"url": f"https://me:{REDACTED}@host/x?a=1"}),
        ({"url": f"s3://b/k?X-Amz-Signature={CANARY}&b=2"}, {"url": f"s3://b/k?X-Amz-Signature={REDACTED}&b=2"}),
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
        {"num_keys": 3, "monitor_key": "val/loss/epoch", "pin": True, "pin_memory": True, "image_key": "image_2d_t1w"},
        {"adapter": {"key": "segmentation_mask_v2", "keys": ["image", "label"]}, "auth": True, "value": "x"},
        {"commit": "54ee08a1f2b3c4d5e6f70819a2b3c4d5e6f70819", "sha256": random_text(64, HEX)},
        {"id": "123e4567-e89b-12d3-a456-426614174000", "run_id": "1a2b3c4d", "key": random_text(40, HEX)},
        {"data": f"data:image/png;base64,{random_text(200)}", "vector": random_text(88)},
        {"path": "/data/sk-learn/resnet50_v1.5/sk-resnet50-imagenet-pretrained.pt", "pwd": "/home/me/work"},
        {"credentials": "~/.config/gcloud/key.json", "private_key": "/home/me/.ssh/id_rsa"},
        {"tokens": "data/t_1024.npy"},
        {"packages": {"detect-secrets": "1.5.0", "tokenizers": "0.22.1"}, "password": "", "secrets": {}},
        {"password": {"_target_": "os.getenv", "key": "DB_PASSWORD"}},
        {"token": {"_target_": "x.Token", "n": "b16-in21k"}},
        {"secret": {"_target_": "my.read", "file": "/run/secrets/db"}},
        {"forward_pass": "full", "bypass": "x", "keyword": "y"},
        {"text": "Basic understanding of tokens: see the docs, at 10:30:00 -- token by token", "n": "x: y=1; z: 2"},
        {"s3": {"bucket": "b", "key": "datasets/imagenet2012"}},
        {"pat": ".*_v2_step10$", "client_key": "feature_map_16x16"},
        {"names": "hf_tokenizer_from_pretrained sk_test_of_a_long_name_without_end gsk_optimizer_with_warmup_2"},
        {"words": ["--num-tokens", "100000000", "--token", "cls", "--key", "image"]},
    ],
)  # fmt: skip
def test_what_is_no_secret_stays(config: Any) -> None:
    assert Secrets(config, environment={"PWD": "/home/me", "OLDPWD": "/data/x"}).data(config) == config


def _configs() -> list[Path]:
    found = [file for folder in ("examples", "docs", "tests") for file in sorted((ROOT / folder).rglob("*.y*ml"))]
    assert len(found) > 8
    return found


def test_the_configs_of_this_repository_stay() -> None:
    """And all YAML in the docs, but for the page on secrets, which shows some."""
    texts = {str(file.relative_to(ROOT)): file.read_text() for file in _configs()}
    blocks = [(file.name, block) for file in sorted((ROOT / "docs").glob("*.md"))
              for block in re.findall(r"^```yaml\n(.*?)^```", file.read_text(), re.MULTILINE | re.DOTALL)]  # fmt: skip
    assert len(blocks) > 50
    texts |= {f"{name}, {index}": block for index, (name, block) in enumerate(blocks)}
    secrets = Secrets(environment={})
    for name, text in texts.items():
        assert secrets.text(text) == text, name
        config = yaml.safe_load(text)
        assert secrets.data(config) == config, name


@pytest.mark.slow
def test_the_source_of_this_repository_stays() -> None:
    files = [*sorted((ROOT / "src").rglob("*.py")), *sorted((ROOT / "examples").rglob("*.py"))]
    assert len(files) > 100
    for file in files:
        text = file.read_text()
        assert Secrets(environment={}).text(text, is_code=True) == text, file


def test_values_of_the_environment_are_known() -> None:
    secrets = Secrets({}, environment={"MY_API_KEY": CANARY, "HOME": "/home/me"})
    assert secrets.text(f"/home/me said {CANARY}") == f"/home/me said {REDACTED}"


@pytest.mark.parametrize(
    ("text", "expected", "is_code"),
    [
        (f"+API_KEY = '{CANARY}'", f"+API_KEY = '{REDACTED}'", True),
        (f'login(password: str = "{CANARY}")', f'login(password: str = "{REDACTED}")', True),
        (f"wandb.login('{CANARY}')", f"wandb.login('{REDACTED}')", True),
        (f"if password == '{CANARY}':", f"if password == '{REDACTED}':", True),
        (f"os.environ['HF_TOKEN'] = '{CANARY}'", f"os.environ['HF_TOKEN'] = '{REDACTED}'", True),
        (f"model::hf_token={CANARY}", f"model::hf_token={REDACTED}", False),
        (f"password: {CANARY}\nb: 1", f"password: {REDACTED}\nb: 1", False),
        ("call(token=my_own_long_variable, x=1)", "call(token=my_own_long_variable, x=1)", True),
        ("password = getpass()\nsecret: str", "password = getpass()\nsecret: str", True),
        ('batch = {"tokens": "input_ids"}', 'batch = {"tokens": "input_ids"}', True),
    ],
)
def test_secrets_in_texts(text: str, expected: str, is_code: bool) -> None:
    assert Secrets(environment={}).text(text, is_code=is_code) == expected


def test_what_is_missing_is_found() -> None:
    assert list(missing({"a": {"b": [1, REDACTED]}, "c": f"x {REDACTED}", "d": 1})) == ["a::b::1", "c"]
