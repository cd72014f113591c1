#!/usr/bin/env python3
"""Boots a virtual machine with a kernel of its own, and systemd as its PID 1 (root only).

For what a container cannot show where this machine's kernel has its controllers in the first kind
of control groups: in there, all of them are in the second. qemu emulates in software, with no
rights but to read. The machine sees this machine's root folder, read-only, through an overlay that
lives in its own memory. It has one processor: to emulate two takes half as much time again. The
verbs are those of container.sh:

    machine.py DIR up             boot; DIR is a folder of its own for the bookkeeping
    machine.py DIR run CMD...     run CMD inside, as root
    machine.py DIR put SRC DST    copy a file or a folder in
    machine.py DIR down           end it, and clear away

The kernel is the newest below $STSD_TEST_KERNEL (a folder into which a package of one has been
unpacked), or else below the root folder.
"""

from __future__ import annotations

import contextlib
import json
import lzma
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

AGENT = Path(__file__).with_name("agent.py")
BOOT_PATIENCE_SECONDS = 240.0
MODULES = ("virtio_pci", "9pnet_virtio", "9p", "overlay")

# With busybox for all that it needs; ends as systemd.
INIT = """\
#!/bin/sh
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t devtmpfs dev /dev
for module in $(cat /modules/order); do insmod "/modules/$module"; done
share=trans=virtio,version=9p2000.L,msize=512000
mount -t 9p -o "ro,cache=loose,$share" host /lower
mount -t tmpfs tmpfs /upper
mkdir /upper/files /upper/work
mount -t overlay -o lowerdir=/lower,upperdir=/upper/files,workdir=/upper/work overlay /root
cd /root
mkdir -p exchange
mount -t 9p -o "cache=none,$share" exchange exchange
umount /proc
mount -t tmpfs tmpfs tmp
mount -t tmpfs tmpfs var/tmp
rm -f etc/machine-id etc/fstab .dockerenv
for target in multi-user timers network-online sysinit getty; do
    rm -f "etc/systemd/system/$target.target.wants"/*
done
mkdir -p etc/systemd/system-generators
for generator in usr/lib/systemd/system-generators/*; do
    ln -sf /dev/null "etc/systemd/system-generators/${generator##*/}"
done
for unit in systemd-udevd.service systemd-udev-trigger.service systemd-udevd-kernel.socket \\
    systemd-udevd-control.socket systemd-networkd.service systemd-networkd.socket \\
    systemd-modules-load.service systemd-random-seed.service systemd-timesyncd.service \\
    systemd-resolved.service serial-getty@ttyS0.service kmod-static-nodes.service \\
    systemd-binfmt.service systemd-sysusers.service systemd-logind.service \\
    systemd-journal-flush.service systemd-update-utmp.service cron.service; do
    ln -sf /dev/null "etc/systemd/system/$unit"
done
cat >etc/systemd/system/agent.service <<END
[Unit]
DefaultDependencies=no
After=basic.target
[Service]
ExecStart=/usr/bin/python3 /exchange/agent.py /exchange
END
mkdir -p etc/systemd/system/basic.target.wants
ln -s ../agent.service etc/systemd/system/basic.target.wants/
exec switch_root /root /lib/systemd/systemd
"""


def kernel() -> tuple[Path, Path]:
    """The newest kernel and the folder of its modules. Raises FileNotFoundError."""
    base = Path(os.environ.get("STSD_TEST_KERNEL", "/"))
    for image in sorted(base.glob("boot/vmlinuz-*"), key=_version, reverse=True):
        modules = base / "lib" / "modules" / image.name.removeprefix("vmlinuz-")
        if modules.is_dir():
            return image, modules
    raise FileNotFoundError(f"no kernel in {base / 'boot'}")


def _version(path: Path) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", path.name)]


def _modules(folder: Path) -> dict[str, bytes]:
    """The modules by file name, each after those that it depends on. What is not there is built
    into the kernel."""
    files = {path.name.split(".")[0].replace("-", "_"): path for path in folder.rglob("*.ko*")}
    found: dict[str, bytes] = {}

    def add(name: str) -> None:
        path = files.get(name.replace("-", "_"))
        if path is None or f"{name}.ko" in found:
            return
        content = lzma.decompress(path.read_bytes()) if path.suffix == ".xz" else path.read_bytes()
        needs = re.search(rb"\0depends=([^\0]*)\0", content)
        for needed in needs[1].decode().split(",") if needs else []:
            add(needed)
        found[f"{name}.ko"] = content

    for name in MODULES:
        add(name)
    return found


def _initramfs(folder: Path, modules: Path) -> Path:
    root = folder / "initramfs"
    for name in ("bin", "proc", "dev", "lower", "upper", "root", "modules"):
        (root / name).mkdir(parents=True)
    busybox = shutil.which("busybox")
    assert busybox is not None
    shutil.copy(busybox, root / "bin" / "busybox")
    (root / "bin" / "sh").symlink_to("busybox")
    (root / "init").write_text(INIT)
    (root / "init").chmod(0o755)
    loaded = _modules(modules)
    for name, content in loaded.items():
        (root / "modules" / name).write_bytes(content)
    (root / "modules" / "order").write_text("\n".join(loaded))
    names = "\n".join(str(path.relative_to(root)) for path in [root, *sorted(root.rglob("*"))])
    archive = folder / "initramfs.cpio"
    with archive.open("wb") as out:
        pack = [busybox, "cpio", "-o", "-H", "newc"]
        subprocess.run(pack, cwd=root, input=names.encode(), stdout=out, check=True)
    return archive


def up(folder: Path) -> None:
    image, modules = kernel()
    exchange = folder / "exchange"
    exchange.mkdir(parents=True)
    shutil.copy(AGENT, exchange / "agent.py")
    share = "local,security_model=none,multidevs=remap"
    command = [
        *("qemu-system-x86_64", "-machine", "q35", "-accel", "tcg", "-cpu", "max,la57=off"),
        *("-smp", "1", "-m", "1024", "-display", "none", "-no-reboot", "-nic", "none"),
        *("-serial", f"file:{folder / 'console.log'}"),
        *("-kernel", str(image), "-initrd", str(_initramfs(folder, modules))),
        *("-virtfs", f"{share},path=/,mount_tag=host,readonly=on"),
        *("-virtfs", f"{share},path={exchange},mount_tag=exchange"),
        "-append",
        "console=ttyS0 panic=-1 quiet cgroup_no_v1=all mitigations=off systemd.unit=basic.target"
        " systemd.show_status=no",
    ]
    with (folder / "qemu.log").open("wb") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    (folder / "pid").write_text(str(process.pid))
    until = time.monotonic() + BOOT_PATIENCE_SECONDS
    while not (exchange / "ready").exists():
        if process.poll() is not None or time.monotonic() > until:
            for log_file in sorted(folder.glob("*.log")):
                sys.stderr.write(log_file.read_text(errors="replace"))
            down(folder)
            raise SystemExit(1)
        time.sleep(0.1)


def run(folder: Path, command: list[str]) -> int:
    """One at a time: the agent inside answers a request with a reply of the same number."""
    exchange = folder / "exchange"
    number = time.monotonic_ns()
    draft = exchange / f"{number}.draft"
    draft.write_text(json.dumps(command))
    draft.rename(exchange / f"{number}.request")
    reply = exchange / f"{number}.reply"
    while not reply.exists():
        os.kill(int((folder / "pid").read_text()), 0)
        time.sleep(0.05)
    answer = json.loads(reply.read_text())
    reply.unlink()
    sys.stdout.write(answer["stdout"])
    sys.stderr.write(answer["stderr"])
    return int(answer["code"])


def put(folder: Path, source: str, target: str) -> int:
    passing = folder / "exchange" / "passing"
    subprocess.run(["cp", "-a", source, passing], check=True)
    code = run(folder, ["cp", "-a", "--no-preserve=ownership", "/exchange/passing", target])
    subprocess.run(["rm", "-rf", passing], check=True)
    return code


def down(folder: Path) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(int((folder / "pid").read_text()), signal.SIGKILL)
    shutil.rmtree(folder)


def main(arguments: list[str]) -> int:
    match arguments:
        case [folder, "up"]:
            up(Path(folder))
        case [folder, "run", *command] if command:
            return run(Path(folder), command)
        case [folder, "put", source, target]:
            return put(Path(folder), source, target)
        case [folder, "down"]:
            down(Path(folder))
        case _:
            sys.stderr.write("usage: machine.py DIR up|run|put|down [...]\n")
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
