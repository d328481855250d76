"""Label Studio's answers to the calls that curate makes, in memory, with faults on request."""

import datetime as dt
import json
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs

import httpx

EPOCH = dt.datetime(2026, 1, 5, 8, 0, tzinfo=dt.UTC)


class FakeLabelStudio:
    """Projects, tasks and annotations, and a clock that stands unless it is moved."""

    def __init__(self) -> None:
        self.now = EPOCH
        self.users = {1: "keeper@curate.local", 2: "ann@example.org"}
        self.projects: dict[int, dict[str, Any]] = {}
        self.tasks: dict[int, dict[str, Any]] = {}
        self.hooks: dict[int, dict[str, Any]] = {}
        self.requests: list[httpx.Request] = []
        self.fault: Callable[[httpx.Request], httpx.Response | None] = lambda request: None
        self.after_page: Callable[[int], None] = lambda page: None
        self.last_id = 0

    def transport(self) -> httpx.MockTransport:
        return httpx.MockTransport(self._answer)

    def tick(self, seconds: float = 60) -> None:
        self.now += dt.timedelta(seconds=seconds)

    def annotate(self, uid: str, choices: dict[str, str], **fields: Any) -> dict[str, Any]:
        """Let a rater answer the task; `choices` are {question: alias}."""
        result = [
            {
                "from_name": f"verdict-{name}",
                "to_name": "image",
                "type": "choices",
                "value": {"choices": [alias]},
            }
            for name, alias in choices.items()
        ]
        annotation = {
            "id": self._next_id(),
            "completed_by": 2,
            "was_cancelled": False,
            "created_at": self._time(),
            "lead_time": 4.5,
            "result": result,
        } | fields
        task = self.task_of(uid)
        task["annotations"].append(annotation)
        self._touch(task, annotation)
        return annotation

    def edit(self, uid: str, annotation: dict[str, Any], choices: dict[str, str]) -> None:
        for item in annotation["result"]:
            item["value"]["choices"] = [choices[item["from_name"].removeprefix("verdict-")]]
        self._touch(self.task_of(uid), annotation)

    def delete(self, uid: str) -> None:
        task = self.task_of(uid)
        task["annotations"].clear()
        self._touch(task)

    def task_of(self, uid: str) -> dict[str, Any]:
        return next(task for task in self.tasks.values() if task["data"].get("uid") == uid)

    def _touch(self, task: dict[str, Any], annotation: dict[str, Any] | None = None) -> None:
        task["updated_at"] = self._time()
        if annotation is not None:
            annotation["updated_at"] = self._time()

    def _time(self) -> str:
        return self.now.strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    def _next_id(self) -> int:
        self.last_id += 1
        return self.last_id

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        response = self.fault(request) or self._serve(request)
        response.headers["Date"] = self.now.strftime("%a, %d %b %Y %H:%M:%S GMT")
        return response

    def _serve(self, request: httpx.Request) -> httpx.Response:
        path, query = request.url.path.rstrip("/"), parse_qs(request.url.query.decode())
        body = json.loads(request.content or b"null")
        if imported := re.fullmatch(r"/api/projects/(\d+)/import", path):
            return self._import(int(imported[1]), body)
        if path == "/api/users":
            users = [{"id": number, "email": email} for number, email in self.users.items()]
            return httpx.Response(200, json=users)
        if path == "/api/projects" and request.method == "POST":
            return self._add_project(body)
        if path == "/api/projects":
            return self._list_projects(query["title"][0])
        if (changed := re.fullmatch(r"/api/tasks/(\d+)", path)) and request.method == "PATCH":
            self.tasks[int(changed[1])]["data"] = body["data"]
            return httpx.Response(200, json=self.tasks[int(changed[1])])
        if path == "/api/tasks":
            return self._list_tasks(query)
        return httpx.Response(404, json={"detail": f"the fake knows no {path}"})

    def _add_project(self, body: dict[str, Any]) -> httpx.Response:
        project = {"id": self._next_id(), **body}
        self.projects[project["id"]] = project
        return httpx.Response(201, json=project)

    def _list_projects(self, title: str) -> httpx.Response:
        found = [
            {**project, "task_number": sum(t["project"] == key for t in self.tasks.values())}
            for key, project in self.projects.items()
            if title in project["title"]
        ]
        return httpx.Response(200, json={"count": len(found), "results": found})

    def _import(self, project_id: int, body: list[dict[str, Any]]) -> httpx.Response:
        for entry in body:
            number = max(self.tasks, default=0) + 1  # as bulk imports number on SQLite
            self.tasks[number] = {
                "id": number,
                "project": project_id,
                "data": entry["data"],
                "annotations": [],
                "created_at": self._time(),
                "updated_at": self._time(),
            }
        return httpx.Response(201, json={"task_count": len(body)})

    def _list_tasks(self, query: dict[str, list[str]]) -> httpx.Response:
        wanted = json.loads(query["query"][0])
        since = [item["value"] for item in wanted["filters"]["items"]]
        found = [
            task
            for task in self.tasks.values()
            if task["project"] == int(query["project"][0])
            and all(task["updated_at"] > value for value in since)
        ]
        found.sort(key=lambda task: (task["updated_at"], task["id"]))
        page, size = int(query["page"][0]), int(query["page_size"][0])
        chosen = json.loads(json.dumps(found[(page - 1) * size : page * size]))
        if not chosen and page > 1:
            return httpx.Response(404, json={"detail": "Invalid page."})
        self.after_page(page)
        return httpx.Response(200, json={"tasks": chosen, "total": len(found)})
