// A program of the common gateway interface: it answers with what it was told and what it was sent.

function variable(name: string): string {
  const value = process.env.get(name);
  return value === null ? "" : value;
}

process.stdout.write("Content-Type: text/plain\nX-Language: assemblyscript\n\n");
process.stdout.write(`${variable("REQUEST_METHOD")} ${variable("PATH_INFO")}?${variable("QUERY_STRING")}\n`);
const buffer = new ArrayBuffer(1024);
let count = process.stdin.read(buffer);
while (count > 0) {
  process.stdout.write(String.UTF8.decode(buffer.slice(0, count)));
  count = process.stdin.read(buffer);
}
