"""An application as a user of the Python SDK 5 writes it: asynchronous key-value store, database and variables."""

from spin_sdk import http, key_value, util, variables
from spin_sdk.http import Request, Response
from spin_sdk.sqlite import Connection, Value_Text


class HttpHandler(http.Handler):
    async def handle_request(self, request: Request) -> Response:
        match (request.method, request.uri.partition("?")[0].split("/")[1:]):
            case ("GET", [""]):
                return text(200, f"{await variables.get('greeting')} from Python")
            case ("POST", ["key", name]):
                with await key_value.open_default() as store:
                    await store.set(name, request.body or b"")
                return text(200, "stored")
            case ("GET", ["key", name]):
                with await key_value.open_default() as store:
                    value = await store.get(name)
                return text(404, "not stored") if value is None else text(200, value.decode())
            case ("POST", ["notes"]):
                note = Value_Text((request.body or b"").decode())
                await rows("CREATE TABLE IF NOT EXISTS notes (text TEXT NOT NULL)", [])
                await rows("INSERT INTO notes (text) VALUES (?)", [note])
                return text(200, "noted")
            case ("GET", ["notes"]):
                notes = await rows("SELECT text FROM notes ORDER BY rowid", [])
                return text(200, "\n".join(note.values[0].value for note in notes))
            case _:
                return text(404, "no such page")


async def rows(statement: str, parameters: list) -> list:
    with await Connection.open_default() as database:
        _columns, found, outcome = await database.execute(statement, parameters)
        return await util.collect((found, outcome))


def text(status: int, body: str) -> Response:
    return Response(status, {"content-type": "text/plain"}, body.encode())
