"""Who is let in, and what becomes of requests that mean ill."""

import copy
import json
from concurrent.futures import ThreadPoolExecutor
from random import Random

import msgspec
import pytest
from starlette.testclient import TestClient

from tests.fixtures.annotation_page import HOME, PORT, TOKEN, Page, box_mask, patch_json
from tests.hostile.mutations import TOKENS, change_tree
from thriftseg.annotation.page.guard import REQUEST_BYTES, Guard
from thriftseg.annotation.page.server import BODIES
from thriftseg.annotation.page.serving import PageAddress, page_server


def ask(page: Page, path: str = "/api/work", **headers: str):
    with TestClient(page.client.app, base_url=HOME) as client:
        return client.get(path, headers=headers)


BEARER = f"Bearer {TOKEN}"


def test_the_address_with_the_token_opens_the_page(page: Page):
    client = TestClient(page.client.app, base_url=HOME)
    assert client.get("/").status_code == 401
    answer = client.get(f"/?token={TOKEN}")
    assert (answer.status_code, answer.text) == (200, "<!doctype html><title>page</title>")
    cookie = answer.headers["set-cookie"]
    assert cookie == f"thriftseg_{PORT}={TOKEN}; HttpOnly; SameSite=Strict; Path=/"
    assert client.get("/api/work").status_code == 200  # by the cookie
    assert client.get("/").status_code == 200
    for name in ("content-security-policy", "referrer-policy", "x-content-type-options"):
        assert name in answer.headers


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/api/work", {}, 401),
        ("/api/work", {"authorization": "Bearer wrong"}, 401),
        ("/api/work", {"authorization": f"Basic {TOKEN}"}, 401),
        ("/api/work", {"cookie": f"thriftseg_{PORT + 1}={TOKEN}"}, 401),
        ("/api/work", {"cookie": f"thriftseg_{PORT}=\u00e9"}, 401),
        (f"/api/work?token={TOKEN}", {}, 401),
        ("/?token=wrong", {}, 401),
        ("/index.html", {}, 401),
        ("/api/work", {"authorization": BEARER, "host": "evil.example"}, 403),
        ("/api/work", {"authorization": BEARER, "host": f"evil.example:{PORT}"}, 403),
        ("/api/work", {"authorization": BEARER, "host": "127.0.0.1:80"}, 403),
        ("/api/work", {"authorization": BEARER, "host": "127.0.0.1"}, 403),
        ("/api/work", {"authorization": BEARER, "host": f"127.0.0.1.evil.example:{PORT}"}, 403),
        ("/api/work", {"authorization": BEARER, "origin": "http://evil.example"}, 403),
        ("/api/work", {"authorization": BEARER, "origin": "null"}, 403),
        ("/api/work", {"authorization": BEARER, "origin": f"https://127.0.0.1:{PORT}"}, 403),
        ("/api/work", {"authorization": BEARER, "origin": "http://127.0.0.1:1"}, 403),
        ("/api/work", {"authorization": BEARER, "origin": HOME}, 200),
        ("/api/work", {"authorization": BEARER, "host": f"localhost:{PORT}"}, 200),
        ("/api/work", {"authorization": BEARER, "host": f"[::1]:{PORT}"}, 200),
    ],
)
def test_who_is_let_in(page: Page, path, headers, status):
    answer = ask(page, path, **{name: value.encode("latin-1") for name, value in headers.items()})
    assert answer.status_code == status
    if status != 200:
        assert answer.json()["error"]
        assert answer.json()["fix"] == "open the address that the server printed"


def test_a_server_for_others_takes_addresses_but_no_strange_names():
    guard = Guard(None, TOKEN, "0.0.0.0", 80)  # noqa: S104
    own = ("192.168.1.5:80", "[fe80::1]:80", "127.0.0.1", "localhost", "LOCALHOST:80")
    assert [guard._is_own(name) for name in own] == [True] * 5
    assert not any(map(guard._is_own, ("evil.example", "192.168.1.5:81", "", ":", "[::1", "1.2.3.4:80:80")))


@pytest.mark.parametrize(
    "path",
    [
        "/../server.py",
        "/%2e%2e/server.py",
        "/..%2f..%2fdata/classes.yaml",
        "/%2e%2e%2f%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        "//etc/passwd",
        "/index.html%00.png",
        "/api/frames/0/..%2f..%2fetc/image",
        "/api/frames/-1/0/image",
        "/api/frames/0/99999999999999999999999/image",
        "/api/frames/street/0/image",
        "/api/videos/1e3",
        "/api/unknown",
    ],
)
def test_no_path_leads_out(page: Page, path):
    secret = page.folder / "classes.yaml"
    secret.write_text("secret")
    answer = page.client.get(path)
    assert answer.status_code in (400, 404), answer.text
    assert "secret" not in answer.text
    assert "root:" not in answer.text


def test_a_large_body_is_refused_before_it_is_read(page: Page):
    given = []

    def body():
        for _ in range(100):
            given.append(1)
            yield b" " * 2**20

    url = "/api/frames/0/0/open"
    announced = page.client.post(url, content=b"", headers={"content-length": str(100 * 2**20)})
    assert (announced.status_code, announced.json()["error"]) == (413, "a request of too many bytes")
    streamed = page.client.post(url, content=body())
    assert streamed.status_code == 413
    for odd in ("-1", "1e3", "9" * 30):
        assert page.client.post(url, content=b"", headers={"content-length": odd}).status_code == 413
    fits = json.dumps({"session": "s", "person": "Ann"}).ljust(REQUEST_BYTES.value)
    assert page.client.post(url, content=fits).status_code == 200


def test_other_methods_are_refused_as_json(page: Page):
    answer = page.client.get("/api/frames/0/0/open")
    assert answer.status_code in (404, 405)
    assert answer.json()["error"]
    answer = page.client.post("/api/work")
    assert answer.status_code in (404, 405)
    assert answer.json()["error"]


ACTION = {
    **{"id": "a1", "tool": "brush", "start": 1.0, "end": 2.5, "seconds": 1.5, "object": 1, "class": 1, "clicks": 1},
    **{"vertices": 2, "strokes": 3, "objects": [[1, 1]], "patch": patch_json(box_mask(0, 0, 2, 3), 1)},
}
VALID = {
    "/api/frames/0/0/open": {"session": "s", "person": "Ann"},
    "/api/frames/0/0/close": {"session": "s"},
    "/api/frames/0/0/actions": {"session": "s", "person": "Ann", "actions": [ACTION, ACTION]},
    "/api/frames/0/1/finish": {"session": "s", "person": "Ann", "verdict": "drawn", "action": ACTION},
    "/api/prompt": {
        **{"session": "s", "video": 0, "place": 0, "object": None, "points": [[3, 4.5, True], [8, 9, False]]},
        **{"box": [0, 0, 20, 20], "base": patch_json(box_mask(0, 0, 2, 3), 1)},
    },
    "/api/propagate/cancel": {},
    "/api/lock_object": {"video": 0, "place": 0, "object": 1, "locked": True},
    "/api/leave": {"session": "s"},
}


def test_malformed_requests_are_answered_in_a_sentence(page: Page):
    """Values of the wrong kind anywhere, in bodies that are valid otherwise."""
    page.service.propagate = lambda *_: {}  # no processes
    rng, refused = Random(24), 0
    page.open(1, "s")
    for url, valid in VALID.items():
        for _ in range(60):
            try:
                content = json.dumps(change_tree(copy.deepcopy(valid), rng)).encode()
            except (ValueError, UnicodeEncodeError):
                continue
            answer = page.client.post(url, content=content)
            assert answer.status_code in (200, 400, 404, 409), (url, content[:300], answer.text[:300])
            if answer.status_code != 200:
                refused += 1
                assert 0 < len(answer.json()["error"]) < 600
            page.work.journal.read()
    assert refused > 200
    page.restart()  # all that was acknowledged can be read again
    page.label(0)


@pytest.mark.parametrize("content", [b"", *TOKENS], ids=lambda content: repr(content[:12]))
def test_what_is_no_json_is_refused(page: Page, content):
    answer = page.client.post("/api/frames/0/0/actions", content=content)
    assert answer.status_code == 400, content[:30]
    assert answer.json()["error"]


def test_the_schemas_know_no_other_entries():
    for schema in BODIES:
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert({"other": 1}, schema)


@pytest.mark.parametrize("query", ["", "?since=0", "?since=x&session=a", "?since=-1&session=a", "?since=1&session="])
def test_queries_are_checked(page: Page, query):
    assert page.client.get(f"/api/changes{query}").status_code == 400


def test_fifty_clients_at_once(page: Page):
    """Each session fights for a frame, and the six that have one draw: nothing is lost, and nothing drawn twice."""
    masks = [box_mask(0, place, 40, place + 1) for place in range(50)]

    def work(number: int) -> int:
        session, place = f"s{number}", number % 6
        opened = page.client.post(f"/api/frames/0/{place}/open", json={"session": session, "person": session})
        actions = [page.action(objects=[[1, 1]], patch=patch_json(masks[number], 1)) for _ in range(3)]
        statuses = [
            page.client.post(
                f"/api/frames/0/{place}/actions", json={"session": session, "actions": [action]}
            ).status_code
            for action in actions
        ]
        assert page.client.get(f"/api/frames/0/{place}/label").status_code == 200
        assert page.client.get(f"/api/changes?since=0&session={session}").status_code == 200
        assert statuses == [opened.status_code] * 3
        return opened.status_code

    with ThreadPoolExecutor(50) as pool:
        found = list(pool.map(work, range(50)))
    assert (found.count(200), found.count(409)) == (6, 44)
    rows = page.work.journal.read()
    assert sum(row.tool == "brush" for row in rows) == 18
    page.restart()
    for number in (number for number, status in enumerate(found) if status == 200):
        assert (page.label(number % 6)[1] == masks[number]).all()


def told_address(page: Page) -> str:
    lines: list[str] = []
    with page_server(page.work, address=PageAddress(port=0), say=lines.append):
        return lines[-1].partition("token=")[2]


def test_a_server_that_is_started_again_knows_open_pages(page: Page):
    """The token is a secret of its owner: one that others could have read is not used again."""
    token, path = told_address(page), page.work.folder / ".token"
    assert path.stat().st_mode & 0o777 == 0o600
    assert told_address(page) == token == path.read_text()
    for spoil in (lambda: path.chmod(0o640), lambda: path.write_text("short"), lambda: path.write_bytes(b"\xff" * 32)):
        spoil()
        again = told_address(page)
        assert again != token
        assert path.stat().st_mode & 0o777 == 0o600
        token = again
    elsewhere = page.folder / "elsewhere"
    path.rename(elsewhere)
    path.symlink_to(elsewhere)
    assert told_address(page) != token
    assert not path.is_symlink()
    assert elsewhere.read_text() == token
