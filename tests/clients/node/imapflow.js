// Reads, flags, copies, moves, deletes and idles with ImapFlow: imapflow.js USER OTHER; three sample messages are in INBOX.
'use strict';
const assert = require('assert');
const fs = require('fs');
const { ImapFlow } = require(`${process.env.PACKAGES}/imapflow`);
const { createTransport } = require(`${process.env.PACKAGES}/nodemailer`);

const [user, other] = process.argv.slice(2);
const tls = { ca: fs.readFileSync(process.env.CA) };
const pass = process.env.PASSWORD;

async function read(client) {
  const subjects = [];
  for await (const message of client.fetch('1:*', { envelope: true, bodyStructure: true, flags: true, size: true, source: true })) {
    subjects.push(message.envelope.subject);
    assert.strictEqual(message.size, message.source.length);
    assert.strictEqual(message.bodyStructure.childNodes.length, 2);
  }
  assert.deepStrictEqual(subjects, ['sample 0', 'sample 1', 'sample 2']);
  const { source } = await client.fetchOne('1', { source: true });
  const sent = fs.readFileSync('sent0');
  assert.ok(source.subarray(source.length - sent.length).equals(sent));
  const { content } = await client.download('1', '2');
  const pieces = [];
  for await (const piece of content) pieces.push(piece);
  assert.deepStrictEqual([...Buffer.concat(pieces)], [0, 1, 2, 3, 4, 5, 6, 7]);
}

async function change(client) {
  assert.ok(await client.messageFlagsAdd('1:2', ['\\Flagged', '$Work']));
  assert.deepStrictEqual(await client.search({ flagged: true, keyword: '$Work' }), [1, 2]);
  const made = await client.mailboxCreate(['Räume', 'Büro']);
  assert.ok(made.created);
  assert.ok((await client.list()).some((mailbox) => mailbox.path === 'Räume/Büro'));
  const copied = await client.messageCopy('1', 'Räume/Büro');
  assert.strictEqual(copied.uidMap.size, 1);
  const moved = await client.messageMove('2', 'Räume/Büro');
  assert.strictEqual(moved.uidMap.size, 1);
  assert.ok(await client.messageDelete('2'));
  assert.strictEqual(client.mailbox.exists, 1);
  assert.strictEqual((await client.status('Räume/Büro', { messages: true })).messages, 2);
  const appended = await client.append('Räume/Büro', fs.readFileSync('sent0'), ['\\Seen']);
  assert.ok(appended.uid > 0);
}

async function idle(client) {
  const arrived = new Promise((resolve) => client.once('exists', resolve));
  const idling = client.idle();
  const mailer = createTransport({
    host: 'localhost', port: Number(process.env.SUBMISSIONS), secure: true, tls, auth: { user: other, pass },
  });
  await mailer.sendMail({ from: other, to: user, subject: 'now', text: 'now' });
  assert.strictEqual((await arrived).count, 2);
  await client.noop();
  await idling;
}

async function main() {
  const client = new ImapFlow({
    host: 'localhost', port: Number(process.env.IMAPS), secure: true, tls, auth: { user, pass }, logger: false,
  });
  await client.connect();
  const lock = await client.getMailboxLock('INBOX');
  await read(client);
  await change(client);
  await idle(client);
  lock.release();
  await client.logout();
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
