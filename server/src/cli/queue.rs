//! `waypost queue …`

mod text;

use base64::{Engine, prelude::BASE64_STANDARD};
use waypost_mail::EntryId;

use crate::{
    admin::{
        Request, Response,
        queue::{Chosen, IDS_MAX, Ordered, QueueAnswer, QueueFilter, QueueJob, QueueOrder},
    },
    cli::{
        Failure,
        arguments::{QueueCommand, QueueList, SomeMessages, SomeOrAll},
        maintenance::{other, say_json},
        progress::Bar,
        target::{self, Target},
        terminal,
    },
    port::Event,
};

/// Ids that are named in a question.
const NAMED_MAX: usize = 3;

/// Runs the command.
pub async fn run(command: QueueCommand) -> Result<(), Failure> {
    let (config, order, done, which) = match command {
        QueueCommand::List(options) => return list(options).await,
        QueueCommand::Show { id, json, config } => {
            let mut target = Target::new(&config)?;
            let shown = ask(&mut target, QueueJob::Show { id: id.to_string() }).await;
            target.close().await;
            let QueueAnswer::Shown(shown) = shown? else { return Err(other()) };
            return match json {
                true => say_json(&shown),
                false => {
                    text::message(&shown).iter().for_each(|line| terminal::say(line));
                    Ok(())
                }
            };
        }
        QueueCommand::Cat { id, config } => {
            let mut target = Target::new(&config)?;
            let printed = cat(&mut target, id).await;
            target.close().await;
            return printed;
        }
        QueueCommand::Destinations { json, config } => return destinations(&config, json).await,
        QueueCommand::Pause { destination, config } => return pause(&config, destination, true).await,
        QueueCommand::Resume { destination, config } => return pause(&config, destination, false).await,
        QueueCommand::Retry { which, config } => (config, QueueOrder::Retry, "due now", which.into()),
        QueueCommand::Hold { which, why, config } => (config, QueueOrder::Hold { why }, "held", which.into()),
        QueueCommand::Release { which, config } => (config, QueueOrder::Release, "released", which.into()),
        QueueCommand::Remove { which, yes, config } => {
            let which = which.into();
            if !yes && !terminal::confirm(&question(&which))? {
                return Err(Failure::new("nothing was removed"));
            }
            (config, QueueOrder::Remove, "removed", which)
        }
        QueueCommand::Bounce { ids, why, config } => {
            (config, QueueOrder::Bounce { why }, "sent back", Which::Ids(ids))
        }
    };
    let mut target = Target::new(&config)?;
    let ordered = give(&mut target, &order, which, done).await;
    target.close().await;
    report(&ordered?, done)
}

/// Messages that were asked for.
#[derive(Debug)]
enum Which {
    Ids(Vec<EntryId>),
    Matching(QueueFilter),
}

impl From<SomeMessages> for Which {
    fn from(SomeMessages { ids, from, to }: SomeMessages) -> Self {
        match ids.is_empty() {
            true => Self::Matching(QueueFilter { to, from, held: false }),
            false => Self::Ids(ids),
        }
    }
}

impl From<SomeOrAll> for Which {
    fn from(SomeOrAll { ids, from, to, all: _ }: SomeOrAll) -> Self {
        SomeMessages { ids, from, to }.into()
    }
}

fn question(which: &Which) -> String {
    let what = match which {
        Which::Ids(ids) if ids.len() <= NAMED_MAX => {
            ids.iter().map(EntryId::to_string).collect::<Vec<_>>().join(", ")
        }
        Which::Ids(ids) => format!("{} messages", ids.len()),
        Which::Matching(QueueFilter { to, from, .. }) => {
            let from = from.as_ref().map(|from| format!(" from {from}")).unwrap_or_default();
            let to = to.as_ref().map(|to| format!(" to {to}")).unwrap_or_default();
            format!("all messages{from}{to}")
        }
    };
    format!("Take {what} out of the queue, without telling their senders?")
}

async fn ask(target: &mut Target, job: QueueJob) -> Result<QueueAnswer, Failure> {
    ask_long(target, job, &mut drop).await
}

async fn ask_long(
    target: &mut Target,
    job: QueueJob,
    tell: &mut (dyn FnMut(Event) + Send),
) -> Result<QueueAnswer, Failure> {
    match target.ask(Request::Queue { job }, tell).await? {
        Response::Queue(answer) => Ok(answer),
        _ => Err(other()),
    }
}

/// Lists page by page, as fast as it is read.
async fn list(options: QueueList) -> Result<(), Failure> {
    let mut target = Target::new(&options.config)?;
    let listed = pages(&mut target, &options).await;
    target.close().await;
    let is_filtered = options.to.is_some() || options.from.is_some() || options.held;
    match listed? {
        0 if options.json || options.limit == Some(0) => {}
        0 if is_filtered => terminal::say("the queue holds no such message"),
        0 => terminal::say("the queue is empty"),
        _ => {}
    }
    Ok(())
}

/// How many were listed.
async fn pages(target: &mut Target, options: &QueueList) -> Result<usize, Failure> {
    let filter = QueueFilter { to: options.to.clone(), from: options.from.clone(), held: options.held };
    let (mut left, mut after, mut listed) = (options.limit.unwrap_or(usize::MAX), None, 0);
    while left > 0 {
        let job = QueueJob::List { filter: filter.clone(), after, most: left };
        let QueueAnswer::Page { lines, next } = ask(target, job).await? else { return Err(other()) };
        left = left.saturating_sub(lines.len());
        for line in &lines {
            let is_read = match options.json {
                true => terminal::tell(&serde_json::to_string(line).map_err(Failure::new)?),
                false => text::line(line).iter().all(|line| terminal::tell(line)),
            };
            if !is_read {
                return Ok(listed);
            }
            listed += 1;
        }
        if next.is_none() {
            break;
        }
        after = next;
    }
    Ok(listed)
}

/// Prints a message piece by piece, as fast as it is read. A terminal obeys none of its octets.
async fn cat(target: &mut Target, id: EntryId) -> Result<(), Failure> {
    let (mut next, mut tamed) = (Some(0), terminal::stdout_is_terminal().then(text::Tamed::default));
    while let Some(from) = next {
        let job = QueueJob::Octets { id: id.to_string(), from };
        let QueueAnswer::Octets { octets, next: behind } = ask(target, job).await? else {
            return Err(other());
        };
        let mut octets = BASE64_STANDARD.decode(octets).map_err(Failure::new)?;
        if let Some(tamed) = &mut tamed {
            tamed.clean(&mut octets);
        }
        if !terminal::write(&octets) {
            break;
        }
        next = behind.filter(|behind| *behind > from);
    }
    Ok(())
}

async fn destinations(config: &super::arguments::ConfigFile, json: bool) -> Result<(), Failure> {
    let answer = target::ask(config, Request::Queue { job: QueueJob::Destinations }).await?;
    let Response::Queue(QueueAnswer::Destinations(lines)) = answer else { return Err(other()) };
    if json {
        for line in &lines {
            terminal::say(&serde_json::to_string(line).map_err(Failure::new)?);
        }
    } else {
        text::destinations(&lines).iter().for_each(|line| terminal::say(line));
    }
    Ok(())
}

async fn pause(
    config: &super::arguments::ConfigFile,
    destination: String,
    paused: bool,
) -> Result<(), Failure> {
    let job = QueueJob::Pause { destination, paused };
    let answer = target::ask(config, Request::Queue { job }).await?;
    let Response::Queue(QueueAnswer::Paused { destination }) = answer else { return Err(other()) };
    terminal::say(&match paused {
        true => format!("nothing is sent to {destination} until `waypost queue resume {destination}`"),
        false => format!("mail is sent to {destination} again"),
    });
    Ok(())
}

async fn give(
    target: &mut Target,
    order: &QueueOrder,
    which: Which,
    done: &'static str,
) -> Result<Ordered, Failure> {
    let chosen: Vec<Chosen> = match which {
        Which::Matching(filter) => vec![Chosen::Matching(filter)],
        Which::Ids(ids) => {
            let texts = |some: &[EntryId]| Chosen::Ids(some.iter().map(EntryId::to_string).collect());
            ids.chunks(IDS_MAX).map(texts).collect()
        }
    };
    let mut all = Ordered::default();
    for which in chosen {
        let mut bar = Bar::new(done);
        let mut tell = |event| {
            if let Event::Progress(progress) = event {
                bar.show(&progress);
            }
        };
        let job = QueueJob::Order { order: order.clone(), which };
        let answer = ask_long(target, job, &mut tell).await;
        bar.finish();
        let QueueAnswer::Ordered(ordered) = answer? else { return Err(other()) };
        all.done += ordered.done;
        all.failed += ordered.failed;
        all.notes.extend(ordered.notes);
    }
    Ok(all)
}

fn report(ordered: &Ordered, done: &str) -> Result<(), Failure> {
    ordered.notes.iter().for_each(|note| terminal::complain(&format!("waypost: {note}")));
    if ordered.done > 0 || ordered.failed == 0 {
        terminal::say(&format!("{} {done}", count(ordered.done)));
    }
    match ordered.failed {
        0 => Ok(()),
        failed => Err(Failure::new(format!("{} not {done}", count(failed)))),
    }
}

fn count(messages: u64) -> String {
    match messages {
        1 => "1 message".to_owned(),
        messages => format!("{messages} messages"),
    }
}
