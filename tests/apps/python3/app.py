"""An application as a user of the Python SDK 3 writes it: key-value store, database and variables."""

from spin_sdk import key_value, sqlite, variables
from spin_sdk.http import IncomingHandler as Base, Request, Response
from spin_sdk.sqlite import Value_Text


class IncomingHandler(Base):
    def handle_request(self, request: Request) -> Response:
        match (request.method, request.uri.partition("?")[0].split("/")[1:]):
            case ("GET", [""]):
                return text(200, f"{variables.get('greeting')} from Python")
            case ("POST", ["key", name]):
                with key_value.open_default() as store:
                    store.set(name, request.body or b"")
                return text(200, "stored")
            case ("GET", ["key", name]):
                with key_value.open_default() as store:
                    value = store.get(name)
                return text(404, "not stored") if value is None else text(200, value.decode())
            case ("POST", ["notes"]):
                with sqlite.open_default() as database:
                    database.execute("CREATE TABLE IF NOT EXISTS notes (text TEXT NOT NULL)", [])
                    note = Value_Text((request.body or b"").decode())
                    database.execute("INSERT INTO notes (text) VALUES (?)", [note])
                return text(200, "noted")
            case ("GET", ["notes"]):
                with sqlite.open_default() as database:
                    result = database.execute("SELECT text FROM notes ORDER BY rowid", [])
                return text(200, "\n".join(row.values[0].value for row in result.rows))
            case _:
                return text(404, "no such page")


def text(status: int, body: str) -> Response:
    return Response(status, {"content-type": "text/plain"}, body.encode())
