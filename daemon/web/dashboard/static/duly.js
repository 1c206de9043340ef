// Keeps the page fresh and shows times in the viewer's zone. Without it everything works after a reload.
"use strict";

// Makes `old` like `fresh` and leaves alone what is equal, so that focus, selection and scrolling stay.
function morph(old, fresh) {
  if (old.nodeType !== fresh.nodeType || old.nodeName !== fresh.nodeName) {
    old.replaceWith(fresh);
    return;
  }
  if (old.nodeType !== Node.ELEMENT_NODE) {
    if (old.nodeValue !== fresh.nodeValue) old.nodeValue = fresh.nodeValue;
    return;
  }
  // What somebody has opened stays open.
  for (const { name } of [...old.attributes]) if (!fresh.hasAttribute(name) && name !== "open") old.removeAttribute(name);
  for (const { name, value } of fresh.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  morphChildren(old, fresh);
}

function morphChildren(old, fresh) {
  const before = [...old.childNodes], after = [...fresh.childNodes];
  after.forEach((node, i) => (i < before.length ? morph(before[i], node) : old.append(node)));
  before.slice(after.length).forEach((node) => node.remove());
}

const sameDay = (a, b) => a.toDateString() === b.toDateString();
const local = (at, options) => new Intl.DateTimeFormat(undefined, options).format(at);
const toMinute = { hour: "2-digit", minute: "2-digit", hourCycle: "h23" };
const clockTime = { ...toMinute, second: "2-digit" };

// In the viewer's zone: instead of UTC in lists (UTC is where the pointer rests), beside it elsewhere.
function tellTimes(root) {
  for (const time of root.querySelectorAll("[data-zone]")) {
    const at = new Date(time.dateTime ?? time.dataset.at); // a chart's text has no dateTime
    const today = sameDay(at, new Date());
    const clock = time.dataset.to === "minute" ? { weekday: today ? undefined : "short", ...toMinute } : clockTime;
    const text = local(at, time.dataset.to === "clock" ? toMinute : today ? clock : { day: "2-digit", month: "short", ...clock });
    if (time.dataset.zone === "own") {
      time.title = time.textContent;
      time.textContent = text;
    } else if (at.getTimezoneOffset() !== 0) {
      const own = document.createElement("span");
      own.className = "own";
      own.textContent = ` · ${text} ${local(at, { timeZoneName: "short" }).split(/[\s,]+/).pop()}`;
      time.append(own);
    }
  }
}

function put(place, fresh) {
  tellTimes(fresh);
  morphChildren(place, fresh);
}

// The live view: server-sent events, only while somebody looks (a browser has few connections to one host).
function follow(url) {
  const link = document.getElementById("link");
  const say = (text, on) => {
    link.hidden = false;
    if (link.textContent !== text) link.textContent = text;
    link.classList.toggle("on", on);
  };
  let source = null;
  let retry = 0;
  const stop = () => {
    clearTimeout(retry);
    source?.close();
    source = null;
  };
  const start = () => {
    stop();
    source = new EventSource(url);
    source.onmessage = (event) => {
      say("live", true);
      const parts = JSON.parse(event.data);
      for (const place of document.querySelectorAll("[data-live]")) {
        const html = parts[place.dataset.live];
        // What somebody is about to click must not move away.
        const held = "still" in place.dataset && (place.matches(":hover") || place.contains(document.activeElement));
        if (typeof html !== "string" || held) continue;
        const fresh = document.createElement("template");
        fresh.innerHTML = html;
        put(place, fresh.content);
      }
    };
    source.onerror = () => {
      say("reconnecting …", false);
      if (source?.readyState === EventSource.CLOSED) retry = setTimeout(start, 5000);
    };
  };
  const look = () => (document.hidden ? stop() : start());
  document.addEventListener("visibilitychange", look);
  window.addEventListener("pagehide", stop);
  window.addEventListener("pageshow", (event) => event.persisted && look());
  look();
}

// Other pages fetch themselves again for as long as they say so.
function refresh(main) {
  const again = () => setTimeout(turn, Number(main.dataset.refresh) * 1000);
  const turn = async () => {
    try {
      if (!document.hidden) await renew(main);
    } catch {
      // the daemon is away for a moment: the next turn finds it
    }
    if (main.dataset.refresh) again();
  };
  again();
}

async function renew(main) {
  const response = await fetch(location.href, { credentials: "same-origin" });
  if (!response.ok) return;
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  const place = document.getElementById("fresh"), fresh = page.getElementById("fresh");
  if (!place || !fresh) return;
  const atBottom = isAtBottom(place);
  put(place, fresh);
  if (atBottom) toBottom(place);
  main.dataset.refresh = page.getElementById("main").dataset.refresh ?? "";
}

const isAtBottom = (place) => "bottom" in place.dataset && place.scrollHeight - place.scrollTop - place.clientHeight < 40;
const toBottom = (place) => place.scrollTo(0, place.scrollHeight);

const main = document.getElementById("main");
tellTimes(document);
document.querySelectorAll("[data-bottom]").forEach(toBottom);
if (main.dataset.stream) follow(main.dataset.stream);
if (main.dataset.refresh) refresh(main);
