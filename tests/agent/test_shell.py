"""Commands: real bash, real processes."""

import asyncio
import os
import time
from pathlib import Path

import pytest

from services.agent.children import living
from services.agent.settings import Settings
from tests.agent.support import Client, serving


def processes(marker: str) -> list[int]:
    """Return the pids of processes whose command line contains `marker`."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                if marker.encode() in (entry / "cmdline").read_bytes() and b") Z" not in (entry / "stat").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


async def until_gone(marker: str) -> None:
    async with asyncio.timeout(5):
        while processes(marker):
            await asyncio.sleep(0.02)


async def test_a_command_answers_with_its_code_and_both_streams_in_order(agent: Client) -> None:
    reply = await agent.exec("echo out; echo err >&2; echo more; exit 3")

    assert reply["status"] == "exited"
    assert reply["exit_code"] == 3
    assert reply["output"] == "out\nerr\nmore\n"
    assert reply["bytes"] == 13
    assert reply["spill"] is None


async def test_folder_and_exports_carry_over_but_plain_variables_do_not(agent: Client) -> None:
    await agent.exec("mkdir sub; cd sub; export A=$'two\\nlines' ; B=plain; export -n TERM; unset CI")
    reply = await agent.exec('pwd; echo "$A|${B-unset}|${CI-unset}"')

    assert reply["output"] == f"{agent.root}/sub\ntwo\nlines|unset|unset\n"
    assert reply["cwd"] == f"{agent.root}/sub"


async def test_folder_carries_over_when_the_command_exits_early_or_fails(agent: Client) -> None:
    await agent.exec("mkdir a; cd a; set -eu; set -C; export X=1; exit 9")
    await agent.exec("export Y=2; nosuchcommand")

    assert (await agent.exec("basename $PWD; echo $X$Y"))["output"] == "a\n12\n"


async def test_workdir_holds_for_one_command(agent: Client) -> None:
    await agent.exec("mkdir -p one two; cd one")
    reply = await agent.exec("basename $PWD; export Z=z", workdir="two")

    assert reply["output"] == "two\n"
    assert (await agent.exec("basename $PWD; echo $Z"))["output"] == "one\nz\n"


async def test_a_removed_folder_falls_back_to_the_work_tree(agent: Client) -> None:
    await agent.exec("mkdir gone; cd gone; rmdir ../gone")

    assert (await agent.exec("pwd"))["output"] == f"{agent.root}\n"


async def test_messages_of_bash_name_no_file_of_ours(agent: Client) -> None:
    assert (await agent.exec("nosuchcommand"))["output"] == "bash: line 1: nosuchcommand: command not found\n"
    syntax = await agent.exec("if then")
    assert syntax["exit_code"] != 0
    assert "syntax error" in syntax["output"]
    assert "moorage" not in syntax["output"]


async def test_a_list_is_an_argv(agent: Client) -> None:
    reply = await agent.exec(["printf", "%s|", "a b", "$HOME", "it's"])

    assert reply["output"] == "a b|$HOME|it's|"


async def test_the_environment_of_commands_is_ours_alone(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_OF_THE_AGENT", "hush")
    async with serving(settings) as agent:
        reply = await agent.exec("env")

    assert "hush" not in reply["output"]
    assert f"HOME={settings.home}\n" in reply["output"]
    assert "PYTHONDONTWRITEBYTECODE=1\n" in reply["output"]
    assert "proxy" not in reply["output"]


async def test_stdin_is_empty(agent: Client) -> None:
    assert (await agent.exec("cat; read x || echo nothing"))["output"] == "nothing\n"


async def test_a_timeout_keeps_the_output_and_kills_even_what_changed_its_session(agent: Client) -> None:
    started = time.monotonic()
    reply = await agent.exec(
        "trap '' TERM; echo before; (setsid bash -c 'exec -a escapee-7781 sleep 300' &);"
        "exec -a stubborn-7781 sleep 300",
        timeout_s=0.3,
    )

    assert reply["status"] == "timeout"
    assert reply["exit_code"] == 124
    assert reply["output"] == "before\n"
    assert time.monotonic() - started < 3
    await until_gone("-7781")


async def test_a_timeout_spares_the_background_of_earlier_commands(agent: Client) -> None:
    await agent.exec("bash -c 'exec -a server-7782 sleep 300' &")
    await agent.exec("sleep 300", timeout_s=0.1)

    assert processes("server-7782")


async def test_background_children_do_not_hold_the_call_and_go_on_writing(agent: Client) -> None:
    started = time.monotonic()
    reply = await agent.exec("(while [ ! -e go ]; do sleep 0.02; done; echo late; touch done) & echo early")
    assert time.monotonic() - started < 1.5
    assert reply["output"] == "early\n"
    assert reply["spill"] == ".moorage/out/1.txt"

    (agent.root / "go").touch()
    async with asyncio.timeout(5):
        while "late" not in (agent.root / reply["spill"]).read_text():
            await asyncio.sleep(0.02)
    assert (agent.root / reply["spill"]).read_text() == "early\nlate\n"


async def test_closing_the_agent_kills_what_commands_left_behind(settings: Settings) -> None:
    async with serving(settings) as agent:
        await agent.exec("setsid bash -c 'exec -a left-7783 sleep 300' & disown")
        assert processes("left-7783")
    await until_gone("left-7783")


async def test_long_output_keeps_head_and_tail_and_spills_all_of_it(agent: Client) -> None:
    reply = await agent.exec("seq 1 100000")

    assert reply["bytes"] == 588895
    assert len(reply["output"]) < 33_000
    assert reply["output"].startswith("1\n2\n3\n")
    assert reply["output"].endswith("\n99999\n100000\n")
    assert "bytes cut; all of it in .moorage/out/1.txt]" in reply["output"]
    assert (agent.root / reply["spill"]).read_text() == "".join(f"{n}\n" for n in range(1, 100_001))


async def test_spill_files_are_bounded_in_size_and_number(settings: Settings) -> None:
    small = settings.model_copy(update={"spill_bytes": 50_000, "spill_files": 2})
    async with serving(small) as agent:
        for _ in range(3):
            reply = await agent.exec("head -c 200000 /dev/zero")
        kept = sorted(path.name for path in (agent.root / ".moorage/out").iterdir())

    assert kept == ["2.txt", "3.txt"]
    assert (agent.root / reply["spill"]).stat().st_size < 50_100
    assert "\0" not in reply["output"]


async def test_a_flood_is_bounded_in_memory_and_time(agent: Client) -> None:
    reply = await agent.exec("head -c 100000000 /dev/zero | tr '\\0' x", timeout_s=30)

    assert reply["bytes"] == 100_000_000
    assert len(reply["output"]) < 33_000


async def test_a_spill_folder_that_is_a_link_is_not_followed(agent: Client, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    agent.root.joinpath(".moorage").symlink_to(tmp_path / "outside")
    reply = await agent.exec("seq 1 100000")

    assert reply["spill"] is None
    assert "bytes cut]" in reply["output"]
    assert not list((tmp_path / "outside").iterdir())


async def test_output_that_is_not_utf8_is_replaced(agent: Client) -> None:
    reply = await agent.exec("printf 'a\\xffb\\0c'; mkdir $'caf\\351\\nx'; cd caf*")

    assert reply["output"] == "a\ufffdb␀c"
    assert reply["cwd"] == f'"{agent.root}/caf\\351\\nx"'
    assert (await agent.exec("echo ok"))["output"] == "ok\n"


async def test_a_signal_is_128_and_its_number(agent: Client) -> None:
    assert (await agent.exec("kill -KILL $$"))["exit_code"] == 137


async def test_commands_at_once_do_not_mix_their_state(agent: Client) -> None:
    replies: dict[int, str] = {}

    async def one(number: int) -> None:
        command = f"mkdir -p d{number}; cd d{number}; export N={number}; sleep 0.05; basename $PWD; echo $N"
        replies[number] = (await agent.exec(command))["output"]

    async with asyncio.TaskGroup() as group:
        for number in range(8):
            group.create_task(one(number))

    assert replies == {number: f"d{number}\n{number}\n" for number in range(8)}
    name, number = (await agent.exec("basename $PWD; echo $N"))["output"].split()
    assert name == f"d{number}"


async def test_more_commands_than_allowed_are_refused(settings: Settings) -> None:
    async with serving(settings.model_copy(update={"max_commands": 1})) as agent, asyncio.TaskGroup() as group:
        first = group.create_task(agent.exec("touch begun; while [ ! -e go ]; do sleep 0.02; done"))
        async with asyncio.timeout(5):
            while not (agent.root / "begun").exists():
                await asyncio.sleep(0.02)
        status, code, _ = await agent.refused("/exec", command="true")
        (agent.root / "go").touch()

    assert (status, code) == (429, "too_many_requests")
    assert first.result()["exit_code"] == 0


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"command": "echo a\0b"}, 422, "invalid_field"),
        ({"command": []}, 422, "invalid_field"),
        ({"command": "true", "workdir": "nowhere"}, 404, "not_found"),
        ({"command": "true", "workdir": "/etc"}, 422, "invalid_field"),
        ({"command": "true", "timeout_s": 0}, 422, "invalid_field"),
        ({"command": "true", "cwd": "."}, 422, "invalid_field"),
    ],
)
async def test_bad_commands_are_refused(agent: Client, body: dict[str, object], status: int, code: str) -> None:
    assert (await agent.refused("/exec", **body))[:2] == (status, code)  # type: ignore[arg-type]  # bad on purpose
    assert (await agent.exec("echo next"))["output"] == "next\n"


async def test_a_command_may_spoil_its_state_file_without_harm(agent: Client) -> None:
    await agent.exec("trap - EXIT; rm -f $__moorage.state; mkfifo $__moorage.state")
    await agent.exec("exec true")

    assert (await agent.exec("pwd"))["output"] == f"{agent.root}\n"


async def test_no_descriptor_is_left_open(agent: Client) -> None:
    await agent.exec("true")
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(20):
        await agent.exec("true")

    assert len(list(Path("/proc/self/fd").iterdir())) <= before


def test_nobody_carries_an_unknown_mark() -> None:
    assert living(None, b"MOORAGE_COMMAND=nobody-has-this-") == []
