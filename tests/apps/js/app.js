// An application as a user of the JavaScript tools writes it.

async function answer(request) {
  const url = new URL(request.url);
  if (request.method === "POST") {
    const body = await request.text();
    const reversed = Array.from(body).reverse().join("");
    return new Response(reversed, { headers: { "content-type": "text/plain" } });
  }
  if (url.pathname === "/stream") {
    const encoder = new TextEncoder();
    const stream = new ReadableStream({
      start(controller) {
        for (let line = 0; line < 5; line += 1) {
          controller.enqueue(encoder.encode(`line ${line}\n`));
        }
        controller.close();
      },
    });
    return new Response(stream);
  }
  return new Response(`Hello from JavaScript at ${url.pathname}`, {
    headers: { "content-type": "text/plain", "x-language": "javascript" },
  });
}

addEventListener("fetch", (event) => event.respondWith(answer(event.request)));
