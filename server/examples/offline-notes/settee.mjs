// What this application needs of Settee: an account and a database for each user, and proof of who they are.
import { createHmac } from 'node:crypto';

/** The database of a user, named as `couch_peruser` names it. */
export const databaseOf = name => 'userdb-' + Buffer.from(name).toString('hex');

export class SetteeAdmin {
  #url; #authorization; #secret;

  /** `url` without name and password; `secret` is Settee's `[chttpd_auth] secret`. */
  constructor({ url, name, password, secret }) {
    this.#url = url;
    this.#authorization = 'Basic ' + Buffer.from(`${name}:${password}`).toString('base64');
    this.#secret = secret;
  }

  /** The headers by which Settee knows a user that this server has signed in: whoever holds them *is* that
   *  user, so they go to nobody else, and over TLS outside of an example. */
  proxyHeaders(name) {
    return {
      'X-Auth-CouchDB-UserName': name,
      'X-Auth-CouchDB-Roles': 'notes',
      'X-Auth-CouchDB-Token': createHmac('sha256', this.#secret).update(name).digest('hex'),
    };
  }

  /** Makes the user's account (for signing in with a cookie) and database; what is there already stays. */
  async prepare(name, password) {
    const id = `org.couchdb.user:${name}`;
    await this.#send('PUT', `/_users/${encodeURIComponent(id)}`, { _id: id, type: 'user', name, password, roles: ['notes'] }, [409]);
    const database = databaseOf(name);
    await this.#send('PUT', `/${database}`, undefined, [412]);
    const only = { names: [name], roles: [] };
    await this.#send('PUT', `/${database}/_security`, { admins: only, members: only });
  }

  async #send(method, path, body, accepted = []) {
    const answer = await fetch(this.#url + path, {
      method,
      headers: { authorization: this.#authorization, 'content-type': 'application/json' },
      body: body && JSON.stringify(body),
    });
    if (!answer.ok && !accepted.includes(answer.status)) {
      throw new Error(`${method} ${path}: ${answer.status} ${await answer.text()}`);
    }
    await answer.body?.cancel();
  }
}
