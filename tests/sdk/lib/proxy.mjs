// A tiny HTTP proxy that remembers what went through it, for tests of the SDK's own "proxy" option.
import http from 'node:http'
import net from 'node:net'

/** {url, take(): all that was sent through since the last call, as text in lower case, close()} */
export async function openProxy() {
  let seen = ''
  const sockets = new Set()
  const server = http.createServer((request, response) => {
    seen += `${request.method} ${request.url}\n${JSON.stringify(request.headers)}\n`
    const onward = http.request(request.url, { method: request.method, headers: request.headers }, (answer) => {
      response.writeHead(answer.statusCode, answer.headers)
      answer.pipe(response)
    })
    onward.on('error', () => response.destroy())
    request.pipe(onward)
  })
  server.on('connect', (request, client, head) => {
    const [host, port] = request.url.split(':')
    const onward = net.connect(Number(port), host, () => {
      client.write('HTTP/1.1 200 OK\r\n\r\n')
      onward.write(head)
      client.on('data', (data) => { seen += data.toString('latin1') })
      client.pipe(onward).pipe(client)
    })
    for (const [one, other] of [[client, onward], [onward, client]]) {
      sockets.add(one)
      one.on('error', () => other.destroy())
      one.on('close', () => other.destroy())
    }
  })
  await new Promise((ready) => server.listen(0, '127.0.0.1', ready))
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    take() {
      const text = seen.toLowerCase()
      seen = ''
      return text
    },
    close() {
      server.close()
      sockets.forEach((socket) => socket.destroy())
    },
  }
}
