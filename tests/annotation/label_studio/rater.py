"""A rater at Label Studio's API, logged in as a browser logs in."""

import re
from pathlib import Path
from typing import Any

import httpx

QUALITY = Path(__file__).with_name("quality.toml")  # a rubric of one question
UNKEPT = httpx.Limits(max_keepalive_connections=0)


class ProxyWithTLS(httpx.HTTPTransport):
    """What is asked of any address by TLS is asked of `door`, in clear."""

    def __init__(self, door: str) -> None:
        super().__init__(limits=UNKEPT)
        self._door = httpx.URL(door)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        assert request.url.scheme == "https"
        place = {"scheme": "http", "host": self._door.host, "port": self._door.port}
        in_clear = (
            httpx.Request(  # the request itself stays: its address says whose cookies are whose
                request.method,
                request.url.copy_with(**place),
                headers=request.headers,
                stream=request.stream,
                extensions=request.extensions,
            )
        )
        return super().handle_request(in_clear)


class Rater:
    """What a person can do on the rating page, without the page."""

    def __init__(
        self, url: str, email: str, password: str, transport: httpx.BaseTransport | None = None
    ) -> None:
        self.name, self.email, self.password = email.split("@")[0], email, password
        self.client = httpx.Client(
            base_url=url,
            follow_redirects=True,
            trust_env=False,
            timeout=60,
            limits=UNKEPT,
            transport=transport,
        )

    def log_in(self) -> bool:
        """Return whether the server takes the password."""
        page = self.client.get("/user/login/").text
        found = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page)
        if found is None:
            return True  # logged in already
        form = {"email": self.email, "password": self.password, "csrfmiddlewaretoken": found[1]}
        answer = self.client.post(
            "/user/login/", data=form, headers={"Referer": str(self.client.base_url)}
        )
        return answer.url.path != "/user/login/"

    def projects(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.client.get("/api/projects/").json()["results"]
        return found

    def next_task(self, project_id: int) -> dict[str, Any] | None:
        answer = self.client.get(f"/api/projects/{project_id}/next")
        assert answer.status_code in (200, 404), f"{answer.status_code} {answer.text[:200]}"
        return answer.json() if answer.status_code == 200 else None  # 404: nothing is left

    def rate(self, task: dict[str, Any], **choices: str) -> dict[str, Any]:
        """Answer the task; `choices` are {question: alias}."""
        body = {"result": _result(choices), "lead_time": 4.5}
        return self._send("POST", f"/api/tasks/{task['id']}/annotations/", body)

    def skip(self, task: dict[str, Any]) -> dict[str, Any]:
        body = {"result": [], "was_cancelled": True}
        return self._send("POST", f"/api/tasks/{task['id']}/annotations/", body)

    def edit(self, annotation: dict[str, Any], **choices: str) -> dict[str, Any]:
        body = {"result": _result(choices)}
        return self._send("PATCH", f"/api/annotations/{annotation['id']}/", body)

    def delete(self, annotation: dict[str, Any]) -> None:
        self._send("DELETE", f"/api/annotations/{annotation['id']}/", None)

    def _send(self, method: str, path: str, body: Any) -> dict[str, Any]:
        headers = {
            "X-CSRFToken": self.client.cookies["csrftoken"],
            "Referer": str(self.client.base_url),
        }
        answer = self.client.request(method, path, json=body, headers=headers)
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text[:200]}"
        found: dict[str, Any] = answer.json() if answer.content else {}
        return found


def _result(choices: dict[str, str]) -> list[dict[str, Any]]:
    return [
        {
            "from_name": f"verdict-{name}",
            "to_name": "image",
            "type": "choices",
            "value": {"choices": [alias]},
        }
        for name, alias in choices.items()
    ]
