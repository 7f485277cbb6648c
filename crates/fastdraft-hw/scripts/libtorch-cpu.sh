#!/usr/bin/env bash
# Makes a libtorch 2.9.0 for the CPU in DIR from packages of the Python index: the torch wheel
# without the CUDA libraries it asks for (0.9 GB instead of 6.7 GB), of which it keeps 0.5 GB.
# Then: LIBTORCH=DIR LD_LIBRARY_PATH=DIR/lib cargo run --release -p fastdraft-hw --features tch \
#         --example conformance -- cpu:libtorch
set -euo pipefail
[ $# -eq 1 ] || { echo "usage: $0 DIR" >&2; exit 2; }
mkdir -p "$1"
dir=$(cd "$1" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

python3 -m pip download --quiet --no-deps --only-binary :all: --dest "$work" \
    torch==2.9.0 nvidia-cuda-runtime-cu12==12.8.90 nvidia-cuda-cupti-cu12==12.8.90
python3 - "$work" "$dir" <<'PY'
import pathlib, sys, zipfile

work, out = map(pathlib.Path, sys.argv[1:])
# libtorch_cpu.so of this wheel is linked to two small CUDA libraries; nothing calls them on a CPU.
wanted = {
    "libtorch_cpu.so", "libc10.so", "libgomp.so.1", "libcudart.so.12", "libcupti.so.12",
}
for wheel in sorted(work.glob("*.whl")):
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            path = pathlib.PurePosixPath(name)
            if path.name in wanted and "lib" in path.parts:
                target = out / "lib" / path.name
            elif name.startswith("torch/include/"):
                target = out / path.relative_to("torch")
            else:
                continue
            if name.endswith("/"):
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(archive.read(name))
missing = wanted - {path.name for path in (out / "lib").iterdir()}
if missing:
    sys.exit(f"the wheels lack {sorted(missing)}")
(out / "build-version").write_text("2.9.0\n")
PY
# The wheel's libtorch.so pulls in libtorch_cuda.so; it holds no code, so an empty one will do.
cc -shared -o "$dir/lib/libtorch.so" -x c /dev/null
echo "$dir"
