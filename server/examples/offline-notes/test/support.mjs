// What the tests start for themselves: a browser, and a PostgreSQL of their own.
import { execFileSync, spawn } from 'node:child_process';
import { chownSync, existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const START_MS = 30_000;
const STOP_MS = 5_000;

/** The path of a program, in the PATH or in one of these folders. */
function program(names, folders = []) {
  const places = [...process.env.PATH.split(delimiter), ...folders];
  return places.flatMap(folder => names.map(name => join(folder, name))).find(path => existsSync(path));
}

/** Says why a test can't run; where it must run, that is a failure. */
export function missing(what) {
  if (process.env.CI) throw new Error(`${what} is not installed`);
  return `${what} is not installed`;
}

export const chromium = () => process.env.CHROMIUM_BIN ?? program(['chromium', 'chromium-browser', 'google-chrome']);

/** A browser with an empty profile. */
export async function openBrowser() {
  const { chromium: driver } = await import('playwright-core');
  const profile = mkdtempSync(join(tmpdir(), 'settee-browser-'));
  const context = await driver.launchPersistentContext(profile, {
    executablePath: chromium(),
    headless: true,
    args: [
      '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
      '--disable-component-update', '--disable-sync',
    ],
  });
  return {
    context,
    async close() {
      await context.close();
      rmSync(profile, { recursive: true, force: true });
    },
  };
}

const postgresFolders = () => {
  const root = '/usr/lib/postgresql';
  return existsSync(root) ? readdirSync(root).map(version => join(root, version, 'bin')) : [];
};

export const postgres = () => program(['postgres'], postgresFolders());

/** PostgreSQL refuses to run as root: then it is somebody else's. */
function owner() {
  if (process.getuid() !== 0) return {};
  const id = flag => Number(execFileSync('id', [flag, 'postgres'], { encoding: 'utf8' }));
  return { uid: id('-u'), gid: id('-g') };
}

/** A PostgreSQL on a folder of its own, reached through a socket in it. */
export async function startPostgres() {
  const who = owner();
  const folder = mkdtempSync(join(tmpdir(), 'settee-pg-'));
  if (who.uid !== undefined) chownSync(folder, who.uid, who.gid);
  const data = join(folder, 'data');
  const options = { ...who, cwd: folder, env: { PATH: process.env.PATH, LC_ALL: 'C' } };
  execFileSync(program(['initdb'], postgresFolders()), ['-D', data, '-A', 'trust', '-U', 'notes', '--no-sync'], { ...options, stdio: 'pipe' });
  const settings = ['listen_addresses=', `unix_socket_directories=${folder}`, 'fsync=off'].flatMap(setting => ['-c', setting]);
  const child = spawn(postgres(), ['-D', data, ...settings], { ...options, stdio: ['ignore', 'ignore', 'pipe'] });
  let log = '';
  child.stderr.on('data', text => { log += text; });
  const exited = new Promise(resolve => child.once('exit', resolve));
  for (const end = Date.now() + START_MS; !log.includes('ready to accept connections');) {
    if (Date.now() > end || child.exitCode !== null) throw new Error(`PostgreSQL did not start:\n${log}`);
    await sleep(20);
  }
  return {
    url: `postgresql://notes@/postgres?host=${encodeURIComponent(folder)}`,
    async stop() {
      // Connections that are being closed may finish; what a failed test left open may not keep it.
      child.kill('SIGTERM');
      const impatient = setTimeout(() => child.kill('SIGINT'), STOP_MS);
      await exited;
      clearTimeout(impatient);
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
