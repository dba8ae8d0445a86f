// Over HTTP/2 through the proxy: node http2.mjs URL, the proxy in HTTPS_PROXY, the CA in NODE_EXTRA_CA_CERTS.
// 100 streams on one connection, of which the first is read slowly; prints what the last one brought.
import http2 from "node:http2";
import net from "node:net";
import tls from "node:tls";

const url = new URL(process.argv[2]);
const proxy = new URL(process.env.HTTPS_PROXY);

function tunnel() {
  return new Promise((resolve, reject) => {
    const socket = net.connect(proxy.port, proxy.hostname, () =>
      socket.write(`CONNECT ${url.host} HTTP/1.1\r\nHost: ${url.host}\r\n\r\n`),
    );
    socket.once("error", reject);
    socket.once("data", (head) => {
      if (!/^HTTP\/1\.[01] 200/.test(head)) return reject(new Error(head.toString()));
      const secure = tls.connect({ socket, servername: url.hostname, ALPNProtocols: ["h2"] }, () => resolve(secure));
      secure.once("error", reject);
    });
  });
}

function get(session, path) {
  return new Promise((resolve, reject) => {
    const stream = session.request({ ":path": path });
    let body = "", status = 0;
    stream.setEncoding("utf8");
    stream.on("response", (headers) => (status = headers[":status"]));
    stream.on("data", (piece) => (body += piece));
    stream.on("end", () => resolve({ status, body }));
    stream.on("error", reject);
    stream.end();
  });
}

try {
  const secure = await tunnel();
  const session = http2.connect(url.origin, { createConnection: () => secure });
  session.on("error", (error) => console.error(error.message));
  const slow = session.request({ ":path": url.pathname });
  slow.pause();
  const answers = await Promise.all(Array.from({ length: 99 }, () => get(session, url.pathname)));
  const refused = answers.find(({ status }) => status !== 200);
  if (refused) throw new Error(`${refused.status} ${refused.body}`);
  slow.destroy();
  session.close();
  process.stdout.write(answers[98].body);
  process.exit(0);
} catch (error) {
  console.error(error.message);
  process.exit(1);
}
