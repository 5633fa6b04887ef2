// Submits with nodemailer over STARTTLS and implicit TLS: nodemailer.js FROM TO; standard input is the raw message.
'use strict';
const assert = require('assert');
const fs = require('fs');
const { createTransport } = require(`${process.env.PACKAGES}/nodemailer`);

const [from, to] = process.argv.slice(2);
const tls = { ca: fs.readFileSync(process.env.CA) };
const transport = (port, secure) =>
  createTransport({
    host: 'localhost', port: Number(port), secure, requireTLS: !secure, tls, auth: { user: from, pass: process.env.PASSWORD },
  });

async function main() {
  const raw = fs.readFileSync(0);
  for (const mailer of [transport(process.env.SUBMISSION, false), transport(process.env.SUBMISSIONS, true)]) {
    await mailer.verify();
    const sent = await mailer.sendMail({ envelope: { from, to: [to] }, raw });
    assert.deepStrictEqual(sent.accepted, [to]);
    assert.match(sent.response, /^250 2\.0\.0 /);
    mailer.close();
  }
  const mailer = transport(process.env.SUBMISSIONS, true);
  const composed = {
    from: `"Älice" <${from}>`, to, bcc: from, subject: 'Grüße 😀', text: 'Hallo\n.\nWelt', html: '<p>Hallo</p>',
    attachments: [{ filename: 'größe.bin', content: Buffer.from([0, 1, 2, 255]) }],
  };
  const sent = await mailer.sendMail(composed);
  assert.deepStrictEqual(sent.accepted.sort(), [from, to].sort());
  await assert.rejects(
    mailer.sendMail({ from: 'somebody@else.test', to, text: 'x' }),
    (error) => error.responseCode >= 550 && error.responseCode < 560,
  );
  const stranger = createTransport({
    host: 'localhost', port: Number(process.env.SUBMISSIONS), secure: true, tls, auth: { user: from, pass: 'wrong' },
  });
  await assert.rejects(stranger.verify(), (error) => error.responseCode === 535);
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
