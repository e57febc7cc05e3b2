"""A back end's day, by a client that is generated from the spec. SERVICE_URL and API_KEY say where."""

from __future__ import annotations

import os
from datetime import datetime, timedelta, timezone
from http import HTTPStatus
from typing import TypeVar, assert_type
from uuid import uuid4

from persistence_client import AuthenticatedClient, Client
from persistence_client.api.management import cleanup, delete_session, get_stats, set_session_status
from persistence_client.api.query import get_session, get_task, list_session_tasks, list_sessions, list_tasks
from persistence_client.api.recovery import list_incomplete_sessions, restore_session
from persistence_client.api.system import get_health, get_liveness, get_metrics
from persistence_client.api.write import flush, patch_tasks, write_sessions, write_tasks
from persistence_client.models import (
    Accepted,
    Alive,
    CleanedUp,
    Cleanup,
    Consistency,
    Deleted,
    ErrorCode,
    Flushed,
    Health,
    IncompleteSessions,
    Problem,
    Restored,
    SessionBatch,
    SessionDetail,
    SessionInput,
    SessionInputGameInfoType0,
    SessionList,
    SessionRead,
    SessionStatus,
    SessionTaskList,
    SortOrder,
    Stats,
    StatusChange,
    Stored,
    TaskBatch,
    TaskInput,
    TaskList,
    TaskPatch,
    TaskPatchBatch,
    TaskRead,
    TaskStatus,
)
from persistence_client.types import Response, UNSET, Unset

URL = os.environ["SERVICE_URL"]
SESSION = str(uuid4())
PROVIDER = f"story-{SESSION}"[:40]
START_TIME = datetime(2025, 9, 30, 10, 10, 0, 250_000, tzinfo=timezone.utc)

T = TypeVar("T")


def expect(holds: bool, what: str, seen: object = "") -> None:
    if not holds:
        raise AssertionError(f"{what}, not {seen}")


def data(kind: type[T], answer: object) -> T:
    if not isinstance(answer, kind):
        raise AssertionError(f"{kind.__name__}, not {answer}")
    return answer


def problem(status: HTTPStatus, answer: Response[T]) -> Problem:
    expect(answer.status_code == status, str(status), answer)
    return data(Problem, answer.parsed)


def task(
    index: int,
    status: TaskStatus = TaskStatus.PENDING,
    row_index: int | None = None,
    target_text: str | Unset = UNSET,
    confidence: float | Unset = UNSET,
    start_time: datetime | Unset = UNSET,
) -> TaskInput:
    return TaskInput(
        task_id=f"task_{index}",
        session_id=SESSION,
        batch_id="batch_1",
        sheet_name="Dialogue",
        row_index=index if row_index is None else row_index,
        column_name="Text",
        source_text=f"Hello, adventurer number {index}!",
        status=status,
        target_text=target_text,
        confidence=confidence,
        start_time=start_time,
    )


def is_refused_without_key() -> None:
    nobody = Client(base_url=URL)
    # Its type says that a key is needed.
    refused = list_sessions.sync_detailed(client=nobody)  # type: ignore[arg-type]
    error = problem(HTTPStatus.UNAUTHORIZED, refused)
    expect(error.error_code == ErrorCode.UNAUTHENTICATED, "UNAUTHENTICATED", error)
    data(Alive, get_liveness.sync(client=nobody))


def writes(client: AuthenticatedClient) -> None:
    game_info = SessionInputGameInfoType0.from_dict({"game_name": "Fantasy RPG", "languages": ["en", "zh"]})
    session = SessionInput(
        session_id=SESSION,
        filename="game.xlsx",
        file_path="/uploads/game.xlsx",
        status=SessionStatus.PROCESSING,
        llm_provider=PROVIDER,
        total_tasks=6,
        game_info=game_info,
        metadata=None,
    )
    accepted = data(Accepted, write_sessions.sync(client=client, body=SessionBatch(sessions=[session])))
    expect(accepted.count == 1, "a session accepted", accepted)

    done = task(0, TaskStatus.COMPLETED, target_text="你好", confidence=0.95, start_time=START_TIME)
    tasks = [done, task(1), task(2), task(3), task(4), task(5, row_index=-1)]
    sorted_ = data(Accepted, write_tasks.sync(client=client, body=TaskBatch(tasks=tasks), partial=True))
    rejected = sorted_.rejected or []
    expect([item.index for item in rejected] == [5], "the last task rejected", sorted_)
    expect(rejected[0].errors[0].field == "tasks[5].row_index", "its field named", rejected)

    patch = TaskPatch(session_id=SESSION, task_id="task_1", context="A greeting")
    stored = data(Stored, patch_tasks.sync(client=client, body=TaskPatchBatch(tasks=[patch]), wait=True))
    expect([item.outcome.value for item in stored.outcomes] == ["stored"], "a patch stored", stored)
    flushed = data(Flushed, flush.sync(client=client))
    expect(flushed.duration_ms >= 0, "all of it stored", flushed)


def reads(client: AuthenticatedClient) -> None:
    session = data(SessionRead, get_session.sync(SESSION, client=client))
    expect(session.game_info is not None and session.game_info["game_name"] == "Fantasy RPG", "JSON", session)
    expect(session.metadata is None and session.estimated_completion is None, "what is null", session)
    expect(session.completed_tasks == 1 and session.pending_tasks == 5, "counters", session)
    assert_type(session.status, SessionStatus)
    assert_type(session.created_at, datetime)
    age = datetime.now(timezone.utc) - session.created_at
    expect(age < timedelta(minutes=10), "a time", session.created_at)

    one = data(TaskRead, get_task.sync("task_0", client=client, session_id=SESSION))
    assert_type(one.target_text, str | None)
    assert_type(one.start_time, datetime | None)
    assert_type(one.row_index, int)
    expect(one.start_time == START_TIME and one.end_time is None, "times of a task", one)
    expect(one.target_text == "你好" and one.confidence == 0.95, "a translation", one)


def lists(client: AuthenticatedClient) -> None:
    sessions = data(
        SessionList,
        list_sessions.sync(
            client=client,
            llm_provider=PROVIDER,
            status=SessionStatus.PROCESSING,
            from_date=(datetime.now(timezone.utc) - timedelta(minutes=10)).isoformat(),
            order=SortOrder.ASC,
            page_size=5,
        ),
    )
    expect([item.session_id for item in sessions.items] == [SESSION], "the one session", sessions)

    seen: list[str] = []
    cursor: str | None | Unset = UNSET
    while cursor is not None:
        answer = list_session_tasks.sync(SESSION, client=client, page_size=2, cursor=cursor)
        page = data(SessionTaskList, answer)
        seen += [item.task_id for item in page.items]
        cursor = assert_type(page.next_cursor, str | None)
    expect(seen == [f"task_{index}" for index in range(5)], "every task once, in order", seen)

    found = data(
        TaskList,
        list_tasks.sync(
            client=client,
            session_id=SESSION,
            status=TaskStatus.PENDING,
            q="number 1",
            consistency=Consistency.STRONG,
        ),
    )
    expect([item.context for item in found.items] == ["A greeting"], "the one task", found)


def recovers(client: AuthenticatedClient) -> None:
    unfinished = data(IncompleteSessions, list_incomplete_sessions.sync(client=client))
    expect(SESSION in [item.session_id for item in unfinished.sessions], "the session among the unfinished ones")
    restored = data(Restored, restore_session.sync(SESSION, client=client))
    expect(restored.tasks_count == 4 and len(restored.tasks) == 4, "its unfinished tasks", restored)
    expect(restored.restored_session == restored.session, "its session", restored)
    expect(restored.missing_instances == [], "nobody missing", restored)


def operates(client: AuthenticatedClient) -> None:
    stats = data(Stats, get_stats.sync(client=client))
    expect(stats.sessions.total >= 0 and stats.performance.success_rate >= 0, "statistics", stats)
    health = data(Health, get_health.sync(client=client))
    expect(all(row.balanced for row in health.buffer.conservation), "every row accounted for", health)
    expect("persistence_" in data(str, get_metrics.sync(client=client)), "metrics")
    cleaned = data(CleanedUp, cleanup.sync(client=client, body=Cleanup(dry_run=True, completed_days=90)))
    expect(cleaned.dry_run, "nothing removed", cleaned)


def is_told_what_is_wrong(client: AuthenticatedClient) -> None:
    """`parsed` of any answer tells by its `error_code` what it is."""
    nobody = str(uuid4())
    missing = problem(HTTPStatus.NOT_FOUND, get_session.sync_detailed(nobody, client=client))
    expect(missing.error_code == ErrorCode.SESSION_NOT_FOUND, "SESSION_NOT_FOUND", missing)
    expect(missing["session_id"] == nobody, "which session", missing)

    tasks = TaskBatch(tasks=[task(0), task(1, row_index=-1, confidence=2)])
    invalid = problem(HTTPStatus.UNPROCESSABLE_ENTITY, write_tasks.sync_detailed(client=client, body=tasks))
    expect(invalid.error_code == ErrorCode.VALIDATION_FAILED, "VALIDATION_FAILED", invalid)
    fields = sorted(fault.field for fault in invalid.errors or [] if fault.message)
    expect(fields == ["tasks[1].confidence", "tasks[1].row_index"], "both fields", invalid)


def ends(client: AuthenticatedClient) -> None:
    change = StatusChange(status=SessionStatus.COMPLETED)
    changed = data(SessionDetail, set_session_status.sync(SESSION, client=client, body=change))
    expect(changed.status == SessionStatus.COMPLETED, "completed", changed)
    deleted = data(Deleted, delete_session.sync(SESSION, client=client))
    expect(deleted.deleted_tasks == 5, "deleted", deleted)
    problem(HTTPStatus.NOT_FOUND, get_session.sync_detailed(SESSION, client=client))


is_refused_without_key()
with AuthenticatedClient(
    base_url=URL,
    token=os.environ["API_KEY"],
    prefix="",
    auth_header_name="X-API-Key",
    raise_on_unexpected_status=True,
) as everybody:
    for part in (writes, reads, lists, recovers, operates, is_told_what_is_wrong, ends):
        part(everybody)
print("the generated Python client was made without a warning, and did all it was asked")
