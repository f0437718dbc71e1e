// The application's own server: hands out the page, registers users, and signs them in.
import { createServer } from 'node:http';
import { readFile } from 'node:fs/promises';
import { extname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createRequire } from 'node:module';
import { Users } from './users.mjs';
import { SetteeAdmin, databaseOf } from './settee.mjs';

const PUBLIC = fileURLToPath(new URL('./public/', import.meta.url));
const POUCHDB = join(createRequire(import.meta.url).resolve('pouchdb/package.json'), '../dist/pouchdb.min.js');
const TYPES = {
  '.html': 'text/html; charset=utf-8', '.mjs': 'text/javascript', '.js': 'text/javascript',
  '.css': 'text/css', '.svg': 'image/svg+xml', '.webmanifest': 'application/manifest+json',
};
const MAX_BODY_BYTES = 10_000;
const NAME = /^[a-z][a-z0-9_.-]{0,63}$/;

class Refusal extends Error {
  constructor(status, message) { super(message); this.status = status; }
}

async function credentials(request) {
  let text = '';
  for await (const piece of request) {
    text += piece;
    if (text.length > MAX_BODY_BYTES) throw new Refusal(413, 'too long');
  }
  let given;
  try { given = JSON.parse(text); } catch { throw new Refusal(400, 'not JSON'); }
  const { name, password } = given ?? {};
  if (typeof name !== 'string' || !NAME.test(name)) throw new Refusal(400, 'a name is a-z, 0-9 and _.-');
  if (typeof password !== 'string' || password.length < 8) throw new Refusal(400, 'a password has 8 characters or more');
  return { name, password };
}

async function file(path) {
  if (path === '/vendor/pouchdb.min.js') return [await readFile(POUCHDB), TYPES['.js']];
  const wanted = normalize(join(PUBLIC, path === '/' ? 'index.html' : decodeURIComponent(path)));
  if (!wanted.startsWith(PUBLIC)) throw new Refusal(404, 'not found');
  try {
    return [await readFile(wanted), TYPES[extname(wanted)] ?? 'application/octet-stream'];
  } catch { throw new Refusal(404, 'not found'); }
}

/** Starts the server; `settee` is what SetteeAdmin takes. Resolves to { url, close }. */
export async function serve({ port = 3000, host = '127.0.0.1', database, settee }) {
  const users = await Users.open(database);
  const admin = new SetteeAdmin(settee);
  const signedIn = name => ({ name, settee: settee.url, database: databaseOf(name), headers: admin.proxyHeaders(name) });
  const routes = {
    'POST /api/register': async request => {
      const { name, password } = await credentials(request);
      if (!await users.register(name, password)) throw new Refusal(409, 'this name is taken');
      try { await admin.prepare(name, password); } catch (error) {
        await users.remove(name);
        throw error;
      }
      return signedIn(name);
    },
    'POST /api/login': async request => {
      const { name, password } = await credentials(request);
      if (!await users.verify(name, password)) throw new Refusal(401, 'name or password is wrong');
      return signedIn(name);
    },
  };
  const server = createServer(async (request, response) => {
    try {
      const path = new URL(request.url, 'http://host').pathname;
      const route = routes[`${request.method} ${path}`];
      if (route) {
        const body = JSON.stringify(await route(request));
        response.writeHead(200, { 'content-type': 'application/json', 'cache-control': 'no-store' }).end(body);
      } else if (request.method === 'GET' || request.method === 'HEAD') {
        const [body, type] = await file(path);
        response.writeHead(200, { 'content-type': type, 'cache-control': 'no-cache' }).end(body);
      } else throw new Refusal(405, 'method not allowed');
    } catch (error) {
      if (!(error instanceof Refusal)) console.error(error);
      const [status, message] = error instanceof Refusal ? [error.status, error.message] : [500, 'something went wrong'];
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify({ error: message }));
    }
  });
  await new Promise((resolve, reject) => server.once('error', reject).listen(port, host, resolve));
  return {
    url: `http://${host}:${server.address().port}`,
    async close() {
      server.closeAllConnections();
      await new Promise(resolve => server.close(resolve));
      await users.close();
    },
  };
}
