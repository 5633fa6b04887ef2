//! One session: the machine's questions are answered from directory and store.
//!
//! The configuration and directory of a transaction are those at its MAIL; a login is checked against the newest.

use std::{
    convert::Infallible,
    future::Future,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use bytes::Bytes;
use tracing::Level;
use waypost_auth::{
    Identity, Live, Origin, Resolution, Seat,
    sasl::{Claim, Lookup},
};
use waypost_mail::{
    Address, DateTime, Deadline, EnhancedStatus, EntryId, LoginService, Refusal, Solicitation, Timestamp,
    Wishes,
};
use waypost_message::{
    build::{Action, Original, Reader, RecipientReport},
    report::{Feedback, RecipientStatus, Report},
};
use waypost_net::{AddressCount, Connection, Disconnect, Handler, Output};
use waypost_storage::{Acceptance, Relay, ReturnedReport};

use super::{
    Context,
    guard::{Allowance, Harvest, instant},
    header::Arrival,
    intake::{Complete, Intake},
    logged,
    recipient::{Recipient, Recipients, Trust, deliveries, missing, relayed, waiting},
    refusal,
    reported::Brings,
    suspicion::Suspicion,
};
use crate::{
    authenticity::Sender,
    notification::{Notice, header_block},
    smtp::{
        parameters::RcptParameters,
        path::ForwardPath,
        server::{Accepted, Answer, Dialect, Login, Mail, Question, Refused, Role, Server},
        xclient::XClient,
    },
    suppression,
};

/// Room for the fields that we add to a message: trace fields (RFC 5321 section 4.4) and what submission lacks.
const ADDED_FIELDS_BYTES: u64 = 1024;
/// Most messages that one report is noted with.
const REPORTED_MESSAGES_MAX: usize = 10;

/// Answers for one session.
#[derive(Debug)]
pub(super) struct Receiver {
    context: Context,
    role: Role,
    peer: IpAddr,
    /// Our side of the connection.
    local: IpAddr,
    counted: AddressCount,
    /// In a box: most sessions that are open have none.
    identity: Option<Box<Identity>>,
    /// Counts the session, once it has logged in.
    seat: Option<Seat>,
    /// In a box: most sessions that are open have none.
    transaction: Option<Box<Transaction>>,
}

/// A transaction from MAIL to the end of DATA.
#[derive(Debug)]
struct Transaction {
    live: Arc<Live>,
    id: EntryId,
    mail: Mail,
    submitter: Option<Identity>,
    /// How urgent it is; the sender may have asked for more.
    priority: i8,
    recipients: Recipients,
    /// What the submitter's limits were charged with.
    allowance: Option<Allowance>,
    /// Why the message is held, if it is.
    held: Option<String>,
    /// `None` once something was wrong with the message. In a box: it goes from hand to hand.
    intake: Option<Box<Intake>>,
}

impl Handler<Server> for Receiver {
    /// Replies to pipelined commands go out together (RFC 2920 section 3.2).
    fn is_quick(&self, question: &Question) -> bool {
        matches!(question, Question::Mail(_) | Question::Recipient(..))
    }

    async fn answer(&mut self, question: Question, _: &mut Output<'_>) -> Result<Answer, Disconnect> {
        Ok(match question {
            // What is large is apart: each answer would need the room for it.
            Question::LookUp(lookup) => Box::pin(self.look_up(&lookup)).await,
            Question::Authenticate(claim) => {
                let outcome = Box::pin(self.log_in(&claim)).await;
                self.verdict(outcome, "login refused").await
            }
            Question::XClient(client) => {
                let outcome = self.introduce(&client);
                self.verdict(outcome, "XCLIENT refused").await
            }
            Question::Verify(address) => {
                let outcome = self.verify(&address);
                match outcome {
                    Ok(true) => Answer::Done,
                    Ok(false) => Answer::CannotTell,
                    Err(refusal) => self.verdict(Err(refusal), "VRFY refused").await,
                }
            }
            Question::Mail(mail) => {
                let outcome = self.begin(*mail);
                self.verdict(outcome, "sender refused").await
            }
            Question::Recipient(path, parameters) => {
                let outcome = Box::pin(self.add_recipient(path, *parameters)).await;
                if outcome.is_err() {
                    self.tarpit().await;
                }
                self.verdict(outcome, "recipient refused").await
            }
            // What is wrong is logged at the end.
            Question::Chunk(octets) => {
                self.take(octets).await.map_or_else(Answer::Refused, |()| Answer::Done)
            }
            Question::DataEnd(verdict) => Box::pin(self.end(verdict)).await,
        })
    }

    fn observe(&mut self, machine: &mut Server) {
        for Refused { verb, refusal, is_last } in machine.take_refused() {
            tracing::info!(peer = %self.peer, command = verb, from = self.reverse_path(), reply = %refusal, "refused");
            if is_last {
                tracing::info!(peer = %self.peer, "further refusals are not logged until the next message is accepted");
            }
        }
    }

    fn event(&mut self) -> impl Future<Output = Infallible> + Send {
        std::future::pending()
    }
}

impl Receiver {
    pub(super) fn new(context: Context, role: Role, connection: &Connection) -> Self {
        let address = |side: SocketAddr| side.ip().to_canonical();
        let (peer, local) = (address(connection.peer), address(connection.local));
        let counted = connection.counted.clone();
        Self { context, role, peer, local, counted, identity: None, seat: None, transaction: None }
    }

    /// The newest configuration and directory.
    fn live(&self) -> Arc<Live> {
        self.context.live.borrow().clone()
    }

    async fn verdict(&self, outcome: Result<(), Refusal>, event: &'static str) -> Answer {
        match outcome {
            Ok(()) => Answer::Done,
            Err(refusal) => {
                self.log(&refusal, event);
                tokio::time::sleep(self.live().config.limits.error_delay).await;
                Answer::Refused(refusal)
            }
        }
    }

    /// Makes who tries out recipients wait.
    async fn tarpit(&self) {
        let live = self.live();
        let rates = &live.config.limits.rates;
        if self.is_counted(&live) && self.context.guard.harvest(self.peer, rates, instant()) == Harvest::Slow
        {
            tokio::time::sleep(rates.tarpit).await;
        }
    }

    /// Whether what the session does counts for its address. A program that gives mail by LMTP is the operator's own, and speaks for many.
    fn is_counted(&self, live: &Live) -> bool {
        let is_known = self.identity.is_some() || self.role == Role::Lmtp;
        !is_known && !self.peer.is_loopback() && !is_trusted(live, self.peer)
    }

    /// A recipient at the address that the client has connected to, which is ours (RFC 5321 section 4.1.3), is one of the first domain.
    fn at_home(&self, path: ForwardPath, live: &Live) -> ForwardPath {
        match (path, live.directory.first_domain()) {
            (ForwardPath::Address(address), Some(domain)) if address.domain.as_ip() == Some(self.local) => {
                ForwardPath::Address(Address { domain: domain.clone(), ..address })
            }
            (path, _) => path,
        }
    }

    fn log(&self, refusal: &Refusal, event: &'static str) {
        tracing::info!(peer = %self.peer, from = self.reverse_path(), reply = %refusal, "{event}");
    }

    /// Of the transaction, for the log.
    fn reverse_path(&self) -> Option<String> {
        self.transaction.as_ref().map(|transaction| transaction.mail.reverse_path.to_string())
    }

    fn origin(&self) -> Origin {
        Origin { peer: self.peer, service: LoginService::Submission }
    }

    async fn look_up(&self, lookup: &Lookup) -> Answer {
        let live = self.live();
        match self.context.authenticator.look_up(&live.directory, lookup, self.origin()).await {
            Ok(found) => Answer::Found(Box::new(found)),
            Err(error) => self.verdict(Err(refusal::login_error(error)), "login refused").await,
        }
    }

    async fn log_in(&mut self, claim: &Claim) -> Result<(), Refusal> {
        let live = self.live();
        let checked = self.context.authenticator.login(&live.directory, claim, self.origin()).await;
        let identity = checked.map_err(refusal::login_error)?;
        let sessions_max = live.config.limits.connections_per_address;
        // A login after STARTTLS takes the place of the one before.
        (self.seat, self.identity) = (None, None);
        let seat = self.context.authenticator.seats().take(identity.account, sessions_max);
        self.seat = Some(seat.ok_or(refusal::TOO_MANY_SESSIONS)?);
        self.identity = Some(Box::new(identity));
        self.counted.release();
        Ok(())
    }

    /// The session is another client's from now on. All connections of the proxy would count for one address.
    fn introduce(&mut self, client: &XClient) -> Result<(), Refusal> {
        let live = self.live();
        let identity = match &client.login {
            Some(login) => Some(Box::new(live.directory.identity(login).ok_or(refusal::NO_SUCH_LOGIN)?)),
            None => None,
        };
        tracing::info!(
            proxy = %self.peer,
            client = client.address.map(|address| address.to_string()),
            port = client.port,
            name = client.name,
            login = client.login,
            destination = client.destination_address.map(|address| address.to_string()),
            destination_port = client.destination_port,
            "XCLIENT"
        );
        self.peer = client.address.map_or(self.peer, |address| address.to_canonical());
        (self.transaction, self.seat, self.identity) = (None, None, identity);
        self.counted.release();
        Ok(())
    }

    /// Whether an address is one of this server; `false`: that others know.
    fn verify(&self, address: &Address) -> Result<bool, Refusal> {
        match self.live().directory.resolve(address) {
            Resolution::Deliver { .. } => Ok(true),
            Resolution::BackupMx | Resolution::Elsewhere => Ok(false),
            Resolution::UnknownUser => Err(refusal::unknown_user(address)),
        }
    }

    fn begin(&mut self, mail: Mail) -> Result<(), Refusal> {
        self.transaction = None;
        let live = self.live();
        refuse_solicitation(&live, mail.parameters.wishes.solicitation.iter())?;
        let submitter = match mail.login {
            Login::Anonymous => None,
            Login::Authenticated => Some(*self.identity.clone().ok_or(refusal::OUT_OF_STEP)?),
        };
        if let Some(Identity { account, address }) = &submitter {
            live.directory.address(*account).ok_or(refusal::ACCOUNT_GONE)?;
            // The null path is a user agent's disposition notification (RFC 8098 section 3).
            let sender = mail.reverse_path.address();
            if sender.is_some_and(|sender| live.directory.send_right(*account, sender).is_none()) {
                return Err(refusal::not_your_sender(&mail.reverse_path, address));
            }
        }
        if submitter.is_none() && self.is_counted(&live) {
            self.context.guard.message(self.peer, &live.config.limits.rates, instant())?;
        }
        let allowance =
            submitter.as_ref().map(|identity| Allowance::new(&self.context.guard, identity.account));
        let most = match &submitter {
            Some(_) => live.config.limits.priority,
            None if is_trusted(&live, self.peer) => i8::MAX,
            None => 0,
        };
        let priority = mail.parameters.wishes.priority.min(most);
        let (now, most) = (self.context.store.now(), live.config.limits.future_release);
        if mail.parameters.release.is_some_and(|release| release.at(now) > now.after(most)) {
            return Err(refusal::held_too_long(most));
        }
        let id = self.context.store.new_entry_id();
        let (recipients, intake) = (Recipients::default(), Some(Box::new(Intake::new(mail.parameters.body))));
        self.transaction = Some(Box::new(Transaction {
            live,
            id,
            mail,
            submitter,
            priority,
            recipients,
            allowance,
            held: None,
            intake,
        }));
        Ok(())
    }

    async fn add_recipient(&mut self, path: ForwardPath, parameters: RcptParameters) -> Result<(), Refusal> {
        let is_counted = self.is_counted(&self.live());
        let (guard, now) = (self.context.guard.clone(), instant());
        let live = self.transaction.as_ref().ok_or(refusal::OUT_OF_STEP)?.live.clone();
        let path = self.at_home(path, &live);
        let transaction = self.transaction.as_mut().ok_or(refusal::OUT_OF_STEP)?;
        if let ForwardPath::Address(address) = &path
            && transaction.recipients.contains(address)
        {
            return Ok(());
        }
        let rates = &transaction.live.config.limits.rates;
        if is_counted {
            guard.recipient(self.peer, rates, now)?;
        }
        let recipient = match transaction.decide(&self.context, path, parameters, self.peer) {
            Ok(recipient) => recipient,
            Err(refusal) => {
                if is_counted && refusal.status == refusal::UNKNOWN_USER {
                    guard.unknown_recipient(self.peer, rates, now);
                }
                return Err(refusal);
            }
        };
        transaction.check_quotas(&self.context, &recipient).await?;
        if let (Some(allowance), Some(submitter)) = (&mut transaction.allowance, &transaction.submitter) {
            let held = guard.submit(allowance, &submitter.address, rates, now)?;
            transaction.held = held.or(transaction.held.take());
        }
        transaction.recipients.add(recipient)
    }

    async fn take(&mut self, octets: Bytes) -> Result<(), Refusal> {
        let transaction = self.transaction.as_mut().ok_or(refusal::OUT_OF_STEP)?;
        let intake = transaction.intake.take().ok_or(refusal::OUT_OF_STEP)?;
        let arrival = transaction.arrival(&self.context, self.peer);
        let intake = intake.take(&self.context.store, &arrival, octets).await?;
        transaction.intake = Some(intake);
        Ok(())
    }

    async fn end(&mut self, verdict: Result<(), Refusal>) -> Answer {
        let outcome = match verdict {
            Ok(()) => self.accept().await,
            Err(refusal) => Err(refusal),
        };
        let answer = match outcome {
            Ok(accepted) => Answer::Accepted(accepted),
            Err(refusal) => {
                self.log(&refusal, "message refused");
                Answer::Refused(refusal)
            }
        };
        self.transaction = None;
        answer
    }

    async fn accept(&mut self) -> Result<Accepted, Refusal> {
        let transaction = self.transaction.as_mut().ok_or(refusal::OUT_OF_STEP)?;
        let intake = transaction.intake.take().ok_or(refusal::OUT_OF_STEP)?;
        let store = &self.context.store;
        let mut message = intake.finish(store, &transaction.arrival(&self.context, self.peer)).await?;
        refuse_solicitation(&transaction.live, message.solicitations.iter())?;
        let bytes = message.bytes;
        let message_id = tracing::enabled!(Level::INFO).then(|| logged::message_id(&message.structure));
        let reports = transaction.reports(&message);
        let mut suspicion = transaction.suspicion(&mut message, &self.context, self.peer).await?;
        let brings = Brings::new(&self.context, transaction.recipients.as_slice(), &message.structure);
        if let Some(brings) = &brings {
            brings.choose_mailboxes(&transaction.live, store, &mut suspicion).await;
        }
        let acceptance = transaction.acceptance(message, store.now(), &suspicion);
        let brings = brings.map(|brings| brings.noting(&acceptance, &suspicion));
        let notification = transaction.notification(&self.context, &acceptance).await;
        let accepted = store.deliver(acceptance, notification).await;
        let accepted = accepted.map_err(|error| refusal::store_error(&error))?;
        let id = accepted.id;
        brings.into_iter().for_each(|brings| brings.offer(&self.context.reports, accepted.clone()));
        transaction.allowance.iter_mut().for_each(Allowance::spend);
        tracing::info!(
            %id,
            from = %transaction.mail.reverse_path,
            to = logged::recipients(transaction.recipients.as_slice()),
            recipients = transaction.recipients.as_slice().len(),
            bytes,
            peer = %self.peer,
            login = transaction.submitter.as_ref().map(|identity| identity.address.to_string()),
            authenticity = suspicion.what,
            message_id = message_id.flatten(),
            "message accepted"
        );
        let asked = transaction.mail.parameters.wishes.priority;
        let new_priority = (asked != transaction.priority).then_some(transaction.priority);
        if !reports.is_empty() {
            Box::pin(self.note(reports)).await;
        }
        Ok(Accepted { id, new_priority })
    }

    /// Notes reports with the messages that they are about. The mail itself is accepted already.
    async fn note(&self, returned: Vec<Returned>) {
        let (store, live) = (&self.context.store, self.context.live.borrow().clone());
        for Returned { user, id, reports } in returned {
            for ReturnedReport { recipient, what, status, .. } in &reports {
                tracing::info!(%id, to = recipient, what, status, "a report came back");
            }
            let counted =
                suppression::count_reports(store, &live.config.queue.suppression, &user, id, &reports).await;
            if let Err(error) = counted {
                tracing::warn!(%id, %error, "a report is not counted for the suppression list");
            }
            if let Err(error) = store.note_reports(id, reports).await {
                tracing::warn!(%id, %error, "a report is not noted with its message");
            }
        }
    }
}

/// Reports that came back for a message of a user.
struct Returned {
    user: Address,
    id: EntryId,
    reports: Vec<ReturnedReport>,
}

impl Transaction {
    /// When the message is sent at the earliest, if that is not now.
    fn release(&self, now: Timestamp) -> Option<Timestamp> {
        self.mail.parameters.release.map(|release| release.at(now)).filter(|at| *at > now)
    }

    /// Whether it stays in the queue for a while.
    fn waits(&self, now: Timestamp) -> bool {
        self.held.is_some() || self.release(now).is_some()
    }

    /// Who a recipient is: where a return path leads back to, or whom the directory knows.
    fn decide(
        &self,
        context: &Context,
        path: ForwardPath,
        parameters: RcptParameters,
        peer: IpAddr,
    ) -> Result<Recipient, Refusal> {
        let trust = if self.submitter.is_some() { Trust::MayRelay } else { Trust::of(&self.live, peer) };
        let now = context.store.now();
        Recipient::decide_in(
            &self.live,
            &context.srs,
            path,
            parameters,
            &self.mail.reverse_path,
            (trust, now),
        )
    }

    /// Refuses a recipient whose mailbox has no room. Only here: at the end of DATA there is one answer for all recipients, and
    /// one full mailbox must not keep the mail from the others. So a message that came without SIZE, or with too small a one,
    /// may go beyond a quota by its own size, which is at most `limits.message_size` for each transaction at a time.
    async fn check_quotas(&self, context: &Context, recipient: &Recipient) -> Result<(), Refusal> {
        let room = self.mail.parameters.size.map_or(1, |size| size.saturating_add(ADDED_FIELDS_BYTES));
        recipient.check_quotas(&context.store, &self.live.directory, room).await
    }

    fn arrival<'a>(&'a self, context: &'a Context, peer: IpAddr) -> Arrival<'a> {
        let now = context.store.now();
        Arrival {
            context,
            live: &self.live,
            id: self.id,
            mail: &self.mail,
            peer,
            submitter: self.submitter.as_ref(),
            recipients: &self.recipients,
            is_checked: self.is_checked(peer),
            now,
        }
    }

    /// Whether it is checked where the message comes from: mail of strangers is, from one server to another.
    fn is_checked(&self, peer: IpAddr) -> bool {
        self.submitter.is_none()
            && self.mail.client.dialect != Dialect::Lmtp
            && !is_trusted(&self.live, peer)
            && self.live.config.authenticity.checks(peer)
    }

    /// What comes of the checks, and of who may read the message; a refusal where it is not wanted.
    async fn suspicion(
        &self,
        message: &mut Complete,
        context: &Context,
        peer: IpAddr,
    ) -> Result<Suspicion, Refusal> {
        let Some(check) = message.check.take() else { return Ok(Suspicion::default()) };
        let sender = Sender {
            peer,
            helo: self.mail.client.name.as_str(),
            reverse_path: &self.mail.reverse_path,
            receiver: &self.live.config.hostname,
            now: context.store.now().seconds().unsigned_abs(),
        };
        // In boxes: most messages are not looked at, and each would need the room for it.
        let verdict = Box::pin(check.finish(&context.resolver, sender)).await;
        let recipients = (self.recipients.as_slice(), message.header.as_slice());
        let suspicion = Box::pin(Suspicion::new(&verdict, &self.live, context, recipients)).await?;
        let seal = self.arrival(context, peer).seal(&verdict, &suspicion.results, &message.header);
        Ok(Suspicion { seal, ..suspicion })
    }

    /// What the sender asked to be told of at once.
    async fn notification(&self, context: &Context, message: &Acceptance) -> Option<Acceptance> {
        let told =
            self.recipients.as_slice().iter().filter_map(|recipient| Some((recipient, recipient.told()?)));
        // What waits is in no mailbox yet.
        let waits = self.waits(context.store.now());
        let told = told.filter(|(_, action)| !waits || *action != Action::Delivered);
        let reports: Vec<_> = told.map(|(recipient, action)| report(recipient, action)).collect();
        // who has no address is not told (RFC 5321 section 4.5.5)
        let sender = self.mail.reverse_path.address().filter(|_| !reports.is_empty())?;
        let moment = context.store.now();
        let notice = Notice {
            of: self.id,
            to: sender.clone(),
            reader: Reader::Sender,
            accepted: moment,
            now: moment,
            random: context.random.next(),
            envelope_id: self.mail.parameters.wishes.envelope_id.clone(),
            require_tls: self.mail.parameters.wishes.require_tls,
            smtputf8: self.mail.parameters.smtputf8 || reports.iter().any(|to| to.address.needs_smtputf8()),
            recipients: reports,
        };
        let original = Original::Header(header_block(&message.header).to_vec());
        let composed = notice.compose((&context.store, &context.signers), &self.live, original);
        let composed = Box::pin(composed).await;
        composed.unwrap_or_else(|error| {
            tracing::warn!(id = %self.id, %error, "the sender is not told of the delivery");
            None
        })
    }

    /// What the message reports of others, where it came to their return paths. A body too large to be held in memory is not looked at.
    fn reports(&self, message: &Complete) -> Vec<Returned> {
        let paths = self.recipients.as_slice().iter().filter_map(|recipient| recipient.returned.clone());
        let about: Vec<(Address, EntryId)> = paths.take(REPORTED_MESSAGES_MAX).collect();
        if about.is_empty() {
            return Vec::new();
        }
        let body = message.body.memory();
        let report = body.and_then(|body| Report::read(&message.structure, message.header.len(), &body));
        let Some(reports) = report.map(returned) else { return Vec::new() };
        about.into_iter().map(|(user, id)| Returned { user, id, reports: reports.clone() }).collect()
    }

    fn acceptance(&self, message: Complete, now: Timestamp, suspicion: &Suspicion) -> Acceptance {
        let Complete { header, body, structure, octets, tls_optional, .. } = message;
        let reverse_path = self.mail.reverse_path.clone();
        let recipients = relayed(self.recipients.as_slice());
        let smtputf8 =
            self.mail.parameters.smtputf8 || recipients.iter().any(|to| to.address.needs_smtputf8());
        let not_before = self.release(now);
        let (mut recipients, mut local) = (recipients, Vec::new());
        recipients.extend(missing(self.recipients.as_slice()));
        match self.waits(now) {
            // What waits is delivered from the queue, to mailboxes here, too.
            true => recipients.extend(waiting(self.recipients.as_slice(), &self.live.directory)),
            false => {
                local = deliveries(self.recipients.as_slice(), &reverse_path, DateTime::utc(now), suspicion);
            }
        }
        let wishes = self.mail.parameters.wishes.with_times(|by| Deadline::new(by, now));
        let tls_optional = tls_optional && !wishes.require_tls;
        let wishes = Wishes { priority: self.priority, tls_optional, ..wishes };
        let held = self.held.clone();
        let relay = Relay {
            body: octets,
            smtputf8,
            wishes,
            not_before,
            held,
            prefix: suspicion.seal.clone().into_bytes(),
            ..Relay::new(reverse_path, recipients)
        };
        let relay = (!relay.recipients.is_empty()).then_some(relay);
        Acceptance { id: self.id, header: header.into(), body, structure, local, relay }
    }
}

/// A recipient whose mail is delivered, or goes on to several (RFC 3464 section 2.3).
fn report(recipient: &Recipient, action: Action) -> RecipientReport {
    RecipientReport {
        original: None,
        orcpt: recipient.parameters.orcpt.clone(),
        address: recipient.address.clone(),
        action,
        status: EnhancedStatus(2, 1, 5),
        remote_mta: None,
        remote_address: None,
        diagnostic: None,
        last_attempt: None,
        will_retry_until: None,
    }
}

/// A report as it is noted.
fn returned(report: Report) -> Vec<ReturnedReport> {
    match report {
        Report::Delivery(recipients) => recipients
            .into_iter()
            .map(|RecipientStatus { recipient, action, status, diagnostic }| ReturnedReport {
                recipient,
                what: action.name().to_owned(),
                status: status.map(|status| status.to_string()),
                said: diagnostic,
            })
            .collect(),
        Report::Feedback(Feedback { kind, recipients }) => {
            let note = |recipient| ReturnedReport {
                recipient,
                what: format!("complaint: {kind}"),
                status: None,
                said: None,
            };
            match recipients.is_empty() {
                true => vec![note(String::new())],
                false => recipients.into_iter().map(note).collect(),
            }
        }
    }
}

/// Refuses a message that is a solicitation of a kind that is not wanted (RFC 3865), whoever sends it, and to whom.
fn refuse_solicitation<'a>(
    live: &Live,
    mut said: impl Iterator<Item = &'a Solicitation>,
) -> Result<(), Refusal> {
    let Some(refused) = &live.config.limits.no_soliciting else { return Ok(()) };
    match said.find_map(|solicitation| solicitation.first_of(refused)) {
        Some(keyword) => Err(refusal::solicitation(keyword)),
        None => Ok(()),
    }
}

/// Whether an address may relay without login.
pub(super) fn is_trusted(live: &Live, peer: IpAddr) -> bool {
    live.config.trust.iter().any(|network| network.contains(peer))
}
