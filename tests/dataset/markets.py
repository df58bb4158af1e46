"""Small databases made for tests: every minute of a few days, with events in them."""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

from fintunnel_training.dataset.sources.sample_database import SCHEMA

START = datetime(2025, 8, 4, 0, 0)


# Who, did what, about what: enough of each that two flashes seldom resemble each other.
_WHO = tuple(
    "美联储理事 欧洲央行行长 日本财务省 英国首相府 沙特能源部 世界黄金协会 瑞士央行 印度珠宝商会 芝加哥商品交易所 "
    "加拿大央行副行长 土耳其统计局 白宫发言人 德国工商总会 澳洲联储 巴西矿业部".split()
)
_DID = tuple(
    "罕见警告称 在闭门会议上表示 宣布将于下月评估 拒绝就此置评 上调了对此的估计 驳斥有关传闻 与盟友讨论后决定 "
    "公布的纪要提到 向国会解释 首次承认 发布声明谈及 推迟公布".split()
)
_WHAT = tuple(
    "降息步伐需要更多耐心 实物金溢价升至数年高位 关税清单里的稀土条款 油轮绕行推高运费 养老金增持长期国债 "
    "工资谈判陷入僵局 旱情让水电减产 跨境支付的新规则 矿区罢工进入第三周 财政赤字上限之争 白银租赁费率飙升 "
    "汇率干预的可能 芯片出口许可延期 旅游旺季拉动消费".split()
)


def make_database(path: Path, *, days: int = 4, events: int = 150, seed: int = 1, impacts: bool = True) -> Path:
    """A dense database: a random walk of minute bars, flashes and calendar entries at random minutes.

    `impacts` False leaves `event_impacts` empty, so that every reaction has to be computed."""
    rng = random.Random(seed)
    minutes = days * 24 * 60
    price, bars = 3300.0, []
    for _ in range(minutes):
        opened, price = price, price * (1 + rng.gauss(0, 0.0002))
        bars.append((opened, max(opened, price) + 0.2, min(opened, price) - 0.2, price))
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executescript(SCHEMA)
        for minute, bar in enumerate(bars):
            at = START + timedelta(minutes=minute)
            connection.execute(
                "INSERT INTO prices_m1 VALUES ('XAUUSD', ?, ?, ?, ?, ?, ?, NULL)",
                (str(at + timedelta(hours=8)), str(at), *bar),
            )
        for number in range(events):
            minute = rng.randrange(minutes - 20)
            add_event(connection, number, START + timedelta(minutes=minute), rng)
            event_id = f"event-{number:04}"
            ret = bars[minute + 15][3] / bars[minute][3] - 1
            if impacts:
                connection.execute(
                    "INSERT INTO event_impacts (event_id, ticker, window_min, ret) VALUES (?, 'XAUUSD', 15, ?)",
                    (event_id, ret),
                )
    return path


def add_event(connection: sqlite3.Connection, number: int, at: datetime, rng: random.Random) -> None:
    event_id, local = f"event-{number:04}", str(at + timedelta(hours=8))
    if number % 3:
        connection.execute(
            "INSERT INTO events (event_id, source, ts_local, ts_utc, content) VALUES (?, 'flash', ?, ?, ?)",
            (
                event_id,
                local,
                str(at),
                f"{rng.choice(_WHO)}{rng.choice(_DID)}{rng.choice(_WHAT)}，{rng.choice(_WHAT)}。",
            ),
        )
    else:
        actual, consensus = rng.randint(10, 40) / 10, rng.randint(10, 40) / 10
        connection.execute(
            "INSERT INTO events (event_id, source, ts_local, ts_utc, name, star, previous, consensus, actual)"
            " VALUES (?, 'calendar', ?, ?, ?, 3, '2.0%', ?, ?)",
            (event_id, local, str(at), f"美国第{number}期CPI年率", f"{consensus}%", f"{actual}%"),
        )


def execute(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        for statement in statements:
            connection.execute(statement)
