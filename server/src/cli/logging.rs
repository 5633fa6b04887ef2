//! The log: lines on standard error.

use std::{
    env,
    fmt::{self, Debug, Write},
    io,
};

use tracing::field::{Field, Visit};
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    field::{MakeVisitor, VisitFmt, VisitOutput},
    filter::Targets,
    fmt::{format::Writer, layer},
    prelude::*,
};

use super::terminal;

/// Begins to log. `WAYPOST_LOG` sets the level (`info`, `waypost_mta=debug`, …), or else there is `default`.
pub fn start(default: &str) {
    let wanted = env::var("WAYPOST_LOG").ok().filter(|wanted| !wanted.is_empty());
    let wanted = wanted.as_deref().unwrap_or(default);
    // Levels of targets cost nothing while a session goes on. What names spans is looked up each time that one is entered.
    match wanted.parse::<Targets>() {
        Ok(levels) => log_by(levels),
        Err(_) => log_by(EnvFilter::new(wanted)),
    }
}

/// Logs what a filter lets through.
fn log_by(filter: impl Layer<Registry> + Send + Sync) {
    let registry = Registry::default().with(filter);
    let lines = layer().with_writer(io::stderr);
    match terminal::stderr_is_terminal() {
        true => registry.with(lines).init(),
        false => registry.with(lines.with_ansi(false).fmt_fields(Plain)).init(),
    }
}

/// Fields as the library writes them, without colours: going around these takes it a third of the time of a line.
#[derive(Clone, Copy, Debug)]
struct Plain;

impl<'writer> MakeVisitor<Writer<'writer>> for Plain {
    type Visitor = PlainVisitor<'writer>;

    fn make_visitor(&self, writer: Writer<'writer>) -> PlainVisitor<'writer> {
        PlainVisitor { writer, is_first: true, written: Ok(()) }
    }
}

/// Writes `name=value`, and the message as it is; not what the crate `log` says of the place in its source.
struct PlainVisitor<'writer> {
    writer: Writer<'writer>,
    is_first: bool,
    written: fmt::Result,
}

impl PlainVisitor<'_> {
    fn write(&mut self, name: &str, value: &dyn Debug) -> fmt::Result {
        if !std::mem::take(&mut self.is_first) {
            self.writer.write_char(' ')?;
        }
        if name != "message" {
            self.writer.write_str(name.strip_prefix("r#").unwrap_or(name))?;
            self.writer.write_char('=')?;
        }
        write!(self.writer, "{value:?}")
    }
}

impl Visit for PlainVisitor<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if self.written.is_ok() && !field.name().starts_with("log.") {
            self.written = self.write(field.name(), value);
        }
    }
}

impl VisitOutput<fmt::Result> for PlainVisitor<'_> {
    fn finish(self) -> fmt::Result {
        self.written
    }
}

impl VisitFmt for PlainVisitor<'_> {
    fn writer(&mut self) -> &mut dyn Write {
        &mut self.writer
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs::File,
        io::{Read, Seek},
        sync::Arc,
    };

    use super::*;

    fn log_something() {
        let span =
            tracing::info_span!("smtp", session = %"1", peer = ?Some(2), later = tracing::field::Empty);
        let _entered = span.enter();
        span.record("later", "said \"x\"");
        tracing::info!(r#type = 1, text = "a b", float = 1.5, none = None::<u8>, shown = %"a b", "it is {}", "so");
        tracing::warn!("no fields");
        tracing::error!(only = true);
        tracing::debug!("not wanted");
    }

    #[test]
    fn lines_are_those_of_the_library() {
        let [theirs, ours] = [(); 2].map(|()| Arc::new(tempfile::tempfile().unwrap()));
        let lines = |file: &Arc<File>| layer().with_writer(Arc::clone(file)).without_time().with_ansi(false);
        let levels = || "info".parse::<Targets>().unwrap();
        let library = Registry::default().with(levels()).with(lines(&theirs));
        tracing::subscriber::with_default(library, log_something);
        let plain = Registry::default().with(levels()).with(lines(&ours).fmt_fields(Plain));
        tracing::subscriber::with_default(plain, log_something);
        let text = |mut file: &File| {
            let mut text = String::new();
            file.rewind().and_then(|()| file.read_to_string(&mut text)).unwrap();
            text
        };
        assert_eq!(text(&ours), text(&theirs));
        assert_eq!(text(&ours).lines().count(), 3, "{}", text(&ours));
    }
}
