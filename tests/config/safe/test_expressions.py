"""Expressions in safe mode mean what they mean to Python."""

from __future__ import annotations

import math
import random
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.utils import Bunch

from lighter.config.safe import SafeMode
from lighter.config.safe.expressions import evaluate
from lighter.config.safe.mode import RefusedError
from lighter.config.safe.work import Work

IMPORTS = {"torch": "torch", "math": "math", "sqrt": "math.sqrt", "nn": "torch.nn", "F": "torch.nn.functional"}
NAMES = {"torch": torch, "math": math, "sqrt": math.sqrt, "nn": torch.nn, "F": torch.nn.functional}
REFERENCES = {
    "n": 32,
    "x": 0.25,
    "name": "digits",
    "none": None,
    "list": [3, 1, 2],
    "dict": {"a": 1, "b": {"c": [4, 5]}},
    "t": torch.arange(6.0).reshape(2, 3),
    "array": np.arange(6).reshape(2, 3),
    "bunch": Bunch(images=np.ones((2, 2)), target=np.array([0, 1])),
    "net": torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Linear(3, 1)),
}
LEGITIMATE = """
1
-1.5
1_000
0x10
1e-3
'text'
"a" 'b'
True
None
...
2 * @n
2 * @n * 4 * 4
@n // 3 + @n % 5 - @n / 2
2 ** 10
2 ** 0.5
2 ** -1
(-2) ** 3
@n ** 2
-@x
+@n
not @n
not @none
@n > 3
1 < @n <= 32 < 100
1 < 0 < 1 / 0
@n == 32 and @x != 1
@none or 'default'
0 or [] or () or 'x'
1 and 0 and 1 / 0
@n if @x < 1 else 1 / 0
@none is None
@n is not None
@list is @list
2 in @list
9 not in @list
'git' in @name
'a' in @dict
'digits' == @name
[1, 2] == [1, 2]
[1, [2]] < [1, [3]]
[1, 'a', None]
(1,)
()
@list[0]
@list[-1]
@list[1:]
@list[::-1]
@list[0:2]
@dict['b']['c'][1]
@name[0]
@name[1:3]
(1, 2)[1]
range(5)[2]
@list + [4]
(1,) + (2,)
[0] * 3
3 * 'ab'
'a' + 'b'
len(@list)
len('abc')
len(@t)
min(@list)
max(1, 2.5)
min('b', 'a')
sum(@list)
sum([])
abs(-3)
round(3.14159, 2)
round(2.5)
round(1234, -2)
int(3.7)
int('12')
float('1e3')
float('inf')
str(1.5)
str(None)
list(range(3))
list('abc')
list(range(2, 10, 3))
range(3)
math.pi
math.sqrt(@n * 2)
sqrt(16)
1 / sqrt(@n)
math.floor(2.5)
math.log(8, 2)
math.inf
torch.float32
torch.tensor([1, 2])
torch.tensor(@list, dtype=torch.float32)
torch.tensor(@bunch.images, dtype=torch.float32).unsqueeze(1) / 16
torch.tensor(@bunch.target)
torch.tensor([[1.0, 2.0]]).squeeze(0).float().mean()
torch.zeros(2, 3).shape
torch.zeros(2, 3).shape[1]
torch.zeros(2, 3).T
torch.zeros(2, 3).size(0)
torch.ones(2) * 2 + 1
2 ** torch.ones(2)
-torch.ones(2)
@t > 2
@t[0]
@t[:, 1]
@t[..., 0]
@t[0, 1:]
@t[@t > 2]
@t.sum()
@t.max().item()
@t.ndim
@t == @t
@t.argmax(dim=1)
@array.shape
@array.mean()
@array[0] + 1
@array.T
@array.size
@bunch['images'].shape
@bunch.images / 16
torch.Generator().manual_seed(0).initial_seed()
nn.Linear(2, 3).weight.shape
F.relu(torch.tensor([-1.0, 1.0]))
@net[0].bias
len(@list) * 2 if @name == 'digits' else 0
""".strip().splitlines()


LEFT_TO_TRUSTED_CONFIGS = """
1 << 10
1024 >> 3
5 & 3 | 8 ^ 1
~5
0 or [] or {} or 'x'
{'a': 1} == {'a': 1}
{1, 2}
{'a': 1, 'b': [2]}
[@n * 2**i for i in range(3)]
[i for i in range(10) if i % 2 if i > 3]
[(i, j) for i in range(3) for j in range(i)]
[[j for j in range(i)] for i in range(3)]
[a + b for a, b in [(1, 2), (3, 4)]]
[c for a, (b, c) in [(1, (2, 3))]]
[i for i in [1, 2] for i in [i, 5]]
{i: i * i for i in range(3)}
{i % 2 for i in range(5)}
sum(i * i for i in range(4))
[k for k in @dict]
[v for k, v in {'a': 1}.items()]
list({'a': 1}.keys())
list({'a': 1}.values())
bool([])
bool(1)
tuple([1, 2])
dict(a=1, b=2)
dict([('a', 1)])
sorted(@list)
sorted(@list, reverse=True)
list(reversed(@list))
any(i > 2 for i in @list)
all([])
list(zip(@list, 'abc'))
list(enumerate('ab'))
list(enumerate('ab', 1))
f"{@name}-{@n}"
f'run{1 + 1}x'
f'{{}}'
'DiGits'.lower()
@name.upper()
' a '.strip()
'a,b'.split(',')
@name.startswith('dig')
@name.endswith(('s', 't'))
'abc'.removesuffix('c')
list(p.shape for p in list([@net[0].weight]))
""".strip().splitlines()


OPERATORS = ("+", "-", "*", "/", "//", "%", "**", "==", "<", "in", "and", "or", "if")


def pythons(expression: str) -> Any:
    text = expression
    for name in sorted(REFERENCES, key=len, reverse=True):
        text = text.replace(f"@{name}", f"__local_refs['{name}']")
    return eval(text, {**NAMES, "__local_refs": REFERENCES})


def ours(expression: str) -> Any:
    text = expression
    for name in sorted(REFERENCES, key=len, reverse=True):
        text = text.replace(f"@{name}", f"__local_refs['{name}']")
    return evaluate(text, REFERENCES, IMPORTS, SafeMode())


def is_same(one: Any, other: Any) -> bool:
    if isinstance(one, (torch.Tensor, np.ndarray)):
        return type(one) is type(other) and one.shape == other.shape and bool((one == other).all())
    return type(one) is type(other) and (one == other or one is other)


@pytest.mark.parametrize("expression", LEGITIMATE)
def test_it_means_what_it_means_to_python(expression: str) -> None:
    torch.manual_seed(0)
    if "nn.Linear" in expression:
        assert ours(expression) == pythons(expression)
    else:
        assert is_same(ours(expression), pythons(expression))


@pytest.mark.parametrize("expression", LEFT_TO_TRUSTED_CONFIGS)
def test_what_ordinary_configs_do_without_is_refused(expression: str) -> None:
    pythons(expression)
    with pytest.raises(RefusedError):
        ours(expression)


def test_parameters_for_an_optimizer() -> None:
    net = REFERENCES["net"]
    assert [id(p) for p in ours("@net.parameters()")] == [id(p) for p in net.parameters()]
    assert dict(ours("@net[0].named_parameters()")).keys() == {"weight", "bias"}
    assert len(list(ours("@net.children()"))) == 2


def test_parts_of_a_network_are_found_by_their_names() -> None:
    net = torch.nn.ModuleDict({"backbone": torch.nn.Linear(2, 2)})
    found = evaluate("__local_refs['net'].backbone.parameters()", {"net": net}, {}, SafeMode())
    assert [id(p) for p in found] == [id(p) for p in net.parameters()]


def test_an_overridden_method_of_a_network_is_not_called() -> None:
    class Net(torch.nn.Linear):
        def parameters(self, recurse=True):
            raise AssertionError("this is a stranger's")

    assert len(list(evaluate("__local_refs['net'].parameters()", {"net": Net(1, 1)}, {}, SafeMode()))) == 2


@pytest.mark.parametrize(
    ("expression", "error"),
    [
        ("1 / 0", ZeroDivisionError),
        ("@list[9]", IndexError),
        ("@dict['z']", KeyError),
        ("int('x')", ValueError),
        ("1 + 'a'", TypeError),
        ("len()", TypeError),
        ("2.0 ** 5000", OverflowError),
        ("torch.tensor([[1], [1, 2]])", ValueError),
    ],
)
def test_python_errors_are_pythons(expression: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        pythons(expression)
    with pytest.raises(error):
        ours(expression)


@pytest.mark.slow
def test_random_expressions_agree_with_python() -> None:
    """Where both have a value it is the same, and only what is too large is refused."""
    randomly, agreed = random.Random(0), 0

    def expression(depth: int) -> str:
        if depth == 0 or randomly.random() < 0.2:
            return randomly.choice(
                ["0", "1", "7", "-3", "2.5", "True", "None", "'ab'", "[1, 2]", "(3,)", "@n", "@list"]
            )
        one, other = expression(depth - 1), expression(depth - 1)
        operator = randomly.choice(OPERATORS)
        if operator == "if":
            return f"({one} if {other} else {expression(depth - 1)})"
        return f"({one} {operator} {other})"

    for _ in range(1500):
        text = expression(3)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            mine = outcome(ours, text)
            if mine is RefusedError:
                continue  # without asking Python, which may take for ever
            theirs = outcome(pythons, text)
        assert mine is theirs or is_same(mine, theirs) or mine != mine, text
        agreed += not isinstance(mine, type)
    assert agreed > 250


def outcome(evaluate: Callable[[str], Any], text: str) -> Any:
    """The value of an expression, or the class of its error."""
    try:
        return evaluate(text)
    except Exception as error:  # noqa: BLE001
        return type(error)


def test_types_that_look_like_tensors_are_asked_nothing() -> None:
    class Sly:
        def __add__(self, other):
            raise AssertionError("this is a stranger's")

        __mul__ = __eq__ = __lt__ = __bool__ = __len__ = __iter__ = __getitem__ = __getattr__ = __add__
        __hash__ = None

    sly = {"s": Sly()}
    uses = (
        "{} + 1",
        "1 * {}",
        "{} == 1",
        "{} < 1",
        "not {}",
        "len({})",
        "max({})",
        "list({})",
        "{}[0]",
        "{}.x",
        "1 in {}",
    )
    for text in uses:
        with pytest.raises(RefusedError):
            evaluate(text.replace("{}", "__local_refs['s']"), sly, {}, SafeMode())


LARGE = {
    "9 ** 9 ** 9": "more than 64 bits",
    "'x' * 10 ** 9": "more than 100,000 items",
    "list(range(10 ** 9))": "more than 100,000 items",
    "max(range(10 ** 9))": "more than 100,000 items",
    "[[[0] * 1000] * 1000] * 1000": "more than 1,000,000 steps",
    "[[[0] * 1000] * 1000] * 1000 == 1": "more than 1,000,000 steps",
    "1 in [[[0] * 1000] * 1000] * 1000": "more than 1,000,000 steps",
    "min([[[0] * 1000] * 1000] * 1000)": "more than 1,000,000 steps",
    "torch.tensor([[[1] * 1000] * 1000] * 1000)": "more than 1,000,000 steps",
    "torch.ones(10 ** 5, 10 ** 5)": "more than 100,000,000 elements",
    "torch.zeros((10 ** 5, 10 ** 5), device='cpu')": "more than 100,000,000 elements",
    "torch.eye(10 ** 5)": "more than 100,000,000 elements",
    "torch.arange(0, 1, 1e-9)": "more than 100,000,000 elements",
    "torch.ones(10 ** 5, 1) * torch.ones(10 ** 5)": "more than 100,000,000 elements",
    "torch.ones(10 ** 5, 1).clamp(min=torch.ones(10 ** 5))": "more than 100,000,000 elements",
    "torch.ones(1, 10 ** 4)[torch.zeros(10 ** 6, dtype=torch.int64)]": "more than 100,000,000 elements",
    "torch.stack([torch.ones(10 ** 6)] * 1001)": "more than 1,000,000,000 elements",
}


@pytest.mark.parametrize("text", LARGE)
def test_what_would_take_long_is_not_begun(text: str) -> None:
    with pytest.raises(RefusedError, match=LARGE[text]):
        ours(text)


def test_the_arrays_of_all_expressions_of_a_config_count_together() -> None:
    work = Work()
    work.elements = 2_500
    for _ in range(2):
        evaluate("torch.ones(1000)", {}, IMPORTS, SafeMode(), work)
    with pytest.raises(RefusedError, match="elements"):
        evaluate("torch.ones(1000)", {}, IMPORTS, SafeMode(), work)


def test_their_time_does_too() -> None:
    work = Work()
    work.seconds = 0.0
    with pytest.raises(RefusedError, match="more than 30 seconds"):
        evaluate("list(range(1000))", {}, IMPORTS, SafeMode(), work)


def test_looking_at_sizes_first_draws_no_random_numbers() -> None:
    torch.manual_seed(0)
    expected = torch.rand(2000)
    torch.manual_seed(0)
    assert ours("torch.rand(2000)").equal(expected)
