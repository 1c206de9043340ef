"""The page in a real browser: it moves by itself, a click opens a delivery, a phone can answer."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Literal
from urllib.parse import urlsplit

import pytest
from playwright.async_api import Browser, Page, async_playwright, expect

from daemon.sandbox.app import Sandbox
from daemon.store.database import Connection
from tests.page import PERSON, enqueue, plan, reached
from tests.page import Page as Daemon

pytestmark = pytest.mark.browser

_ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]


class Watched:
    """What a page must not do: complain, or talk to anybody but us."""

    def __init__(self, page: Page) -> None:
        self.complaints: list[str] = []
        self.hosts: set[str] = set()
        page.on(
            "console", lambda m: self.complaints.append(m.text) if m.type in ("error", "warning") else None
        )
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self.hosts.add(urlsplit(request.url).netloc))


@pytest.fixture
async def daemon(dsn: str, sandbox: Sandbox) -> AsyncIterator[Daemon]:
    async with Daemon(dsn, sandbox.url) as found:
        sandbox.lifecycle.inbound_url = f"{found.url}/hooks/twilio/main/inbound"
        yield found


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    names = ("chromium", "chromium-browser", "google-chrome")
    path = next((found for name in names if (found := shutil.which(name))), None)
    if path is None:
        pytest.skip("no chromium here: install it to have the page tried in a browser")
    async with async_playwright() as playwright:
        launched = await playwright.chromium.launch(executable_path=path, args=_ARGUMENTS)
        yield launched
        await launched.close()


@pytest.fixture
async def page(browser: Browser, daemon: Daemon) -> AsyncIterator[Page]:
    context = await browser.new_context(timezone_id="Asia/Kolkata", locale="en-GB")
    found = await context.new_page()
    watched = Watched(found)
    yield found
    await context.close()
    assert watched.complaints == []
    assert watched.hosts <= {urlsplit(daemon.url).netloc}


async def test_the_counts_move_without_a_reload(page: Page, daemon: Daemon, conn: Connection) -> None:
    await page.goto(daemon.url)
    await expect(page.get_by_role("status")).to_have_text("live")
    delivered = page.locator("[data-count=delivered]")
    await expect(delivered).to_have_text("0")
    await page.evaluate("window.same = true")
    for _ in range(3):
        await enqueue(conn)
    await expect(delivered).to_have_text("3", timeout=15_000)
    await expect(page.locator(".list tbody tr")).to_have_count(3)
    await expect(page.locator(".list .badge.delivered")).to_have_count(3)
    assert await page.evaluate("window.same"), "it was reloaded"


async def test_a_click_opens_a_deliverys_timeline_in_both_zones(
    page: Page, daemon: Daemon, conn: Connection
) -> None:
    delivery = await enqueue(conn, "<script>document.title = 'hacked'</script>")
    await reached(conn, delivery, "delivered")
    await page.goto(daemon.url)
    await page.get_by_role("link", name=PERSON).click()
    await expect(page).to_have_url(f"{daemon.url}/deliveries/{delivery}")
    await expect(page.get_by_role("heading", level=1)).to_contain_text("delivered")
    await expect(page.locator(".timeline")).to_contain_text("attempt 1 accepted")
    await expect(page.locator(".timeline time").first).to_contain_text(" UTC · ")
    await expect(page.locator(".timeline time").first).to_contain_text("GMT+5:30")
    await expect(page.locator(".body")).to_have_text("<script>document.title = 'hacked'</script>")
    assert "hacked" not in (await page.title()).lower()


async def test_an_open_timeline_grows_by_itself(page: Page, daemon: Daemon, conn: Connection) -> None:
    delivery = await conn.fetchval(
        "select duly.enqueue('clinic', 'sms', $1, 'soon', now() + interval '1 second')", PERSON
    )
    await page.goto(f"{daemon.url}/deliveries/{delivery}")
    await expect(page.get_by_role("heading", level=1)).to_contain_text("queued")
    await expect(page.get_by_role("heading", level=1)).to_contain_text("delivered", timeout=15_000)
    await expect(page.locator(".timeline")).to_contain_text("callback delivered")


async def test_a_stop_from_the_phone_shows_in_the_conversation(
    page: Page, daemon: Daemon, conn: Connection
) -> None:
    await reached(conn, await enqueue(conn, "Come at nine"), "delivered")
    await page.goto(f"{daemon.url}/sandbox")
    await page.get_by_role("link", name=PERSON).click()
    thread = page.locator(".thread")
    await expect(thread).to_contain_text("Come at nine")
    await page.get_by_role("button", name="STOP").click()
    await expect(thread.locator(".theirs")).to_contain_text("STOP")
    await expect(thread).to_contain_text("opted out")


async def test_enter_sends_what_was_written_and_a_new_message_appears_by_itself(
    page: Page, daemon: Daemon, conn: Connection
) -> None:
    await reached(conn, await enqueue(conn, "Come at nine"), "delivered")
    await page.goto(f"{daemon.url}/sandbox/{PERSON}")
    answer = page.get_by_label("Answer as this person").get_by_role("textbox")
    await answer.fill("I will be late")
    await answer.press("Enter")
    await expect(page.locator(".theirs")).to_contain_text("I will be late")
    await answer.fill("half written")
    await enqueue(conn, "No worries")
    await expect(page.locator(".thread")).to_contain_text("No worries", timeout=15_000)
    await expect(answer).to_have_value("half written")


async def test_what_is_to_come_is_told_in_the_viewers_own_time(
    page: Page, daemon: Daemon, conn: Connection
) -> None:
    await conn.execute(
        """select duly.enqueue('clinic', 'sms', '+1415555' || 1000 + n, 'Hello',
                               date_trunc('day', now(), 'UTC') + interval '4 days 12 hours 30 minutes')
           from generate_series(1, 40) n"""
    )
    await page.goto(daemon.url)
    moment = page.locator(".cohorts li b")
    await expect(moment).to_contain_text("18:00", timeout=15_000)  # 12:30 UTC in Kolkata
    await expect(moment).not_to_contain_text("UTC")
    await expect(page.locator(".cohorts li")).to_contain_text("40 messages, 40 segments")
    await expect(page.locator(".cohorts .end")).to_contain_text("ends about")
    await page.set_viewport_size({"width": 390, "height": 844})
    wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert await page.evaluate(wide) == 0


async def test_a_phones_screen_needs_no_scrolling_sideways(
    page: Page, daemon: Daemon, conn: Connection
) -> None:
    delivery = await enqueue(conn, "word" * 100)
    await reached(conn, delivery, "delivered")
    await page.set_viewport_size({"width": 390, "height": 844})
    for path in ("/", f"/deliveries/{delivery}", "/sandbox", f"/sandbox/{PERSON}"):
        await page.goto(daemon.url + path)
        wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert await page.evaluate(wide) == 0, path


async def test_the_keyboard_reaches_the_content_and_keeps_its_place_while_the_page_moves(
    page: Page, daemon: Daemon, conn: Connection
) -> None:
    await page.goto(daemon.url)
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("link", name="To the content")).to_be_focused()
    tile = page.get_by_role("link", name="Delivered")
    await tile.focus()
    await reached(conn, await enqueue(conn), "delivered")
    await expect(page.locator("[data-count=delivered]")).to_have_text("1", timeout=15_000)
    await expect(tile).to_be_focused()


async def test_the_chart_of_a_busy_moment_can_be_seen_and_read(
    page: Page, daemon: Daemon, conn: Connection
) -> None:
    noon = datetime.now(UTC).replace(hour=12, minute=30, second=0, microsecond=0) + timedelta(days=3)
    await plan(conn, 120, noon)
    await page.goto(daemon.url)
    rush = page.locator(".rush")
    await expect(rush.locator("h2")).to_contain_text("18:00: 120 wanted at once")  # 12:30 UTC in Kolkata
    await expect(rush.locator("h2")).to_contain_text("until 19:15", timeout=15_000)
    await expect(rush.locator("text.number")).to_have_text("↑ 120 wanted")
    await expect(rush.locator("text.hour").first).to_have_text("18:00")
    await rush.locator("summary").click()
    await expect(rush.locator("tbody tr").first).to_contain_text("120")
    schemes: tuple[Literal["light", "dark"], ...] = ("light", "dark")
    for scheme in schemes:
        await page.emulate_media(color_scheme=scheme)
        card, boxes = await rush.evaluate(
            """card => [getComputedStyle(card).backgroundColor,
                        [...card.querySelectorAll(".chart rect")].map(box => {
                          const style = getComputedStyle(box), seen = box.getBoundingClientRect();
                          return [style.fill === "none" ? style.stroke : style.fill, seen.width > 4 && seen.height > 4];
                        })]"""
        )
        assert len(boxes) == 16  # fifteen slots of five minutes, and what was wanted
        assert all(color != card and seen for color, seen in boxes)
    await page.set_viewport_size({"width": 390, "height": 844})
    wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert await page.evaluate(wide) == 0
    await enqueue(conn)  # something moves, and what was opened stays open
    await expect(page.locator("[data-count=delivered]")).to_have_text("1", timeout=15_000)
    await expect(rush.locator("tbody tr").first).to_be_visible()
