//! The walk as a picture in the terminal, or as JSON.

use crate::{
    cli::{Failure, terminal},
    demo::walk::Walk,
};

/// Columns of a terminal.
const WIDTH: usize = 80;
/// Columns for who it is.
const WHO_WIDTH: usize = 26;
/// Columns for the time.
const TIME_WIDTH: usize = 10;
/// Columns in front of what was done.
const MARGIN: usize = 2 + WHO_WIDTH + TIME_WIDTH + 2;

/// Draws the walk: stations below each other, and between them how the message travelled.
pub fn draw(walk: &Walk) -> String {
    let (bold, dim, plain) =
        if terminal::stdout_is_terminal() { ("\x1b[1m", "\x1b[2m", "\x1b[0m") } else { ("", "", "") };
    let mut picture = "Two complete mail servers on this machine, mx.a.test and mx.b.test.\n\
                       Times count from the moment a message is handed over.\n"
        .to_owned();
    for (index, leg) in walk.legs.iter().enumerate() {
        picture.push_str(&format!("\n{bold}{}. {}{plain}\n\n", index + 1, leg.title));
        for hop in &leg.hops {
            if let Some(by) = &hop.by {
                picture.push_str(&format!("      {dim}│  {by}{plain}\n      {dim}▼{plain}\n"));
            }
            let time = format!("{:.1} ms", hop.milliseconds);
            let mut lines = wrapped(&hop.what, WIDTH - MARGIN).into_iter();
            let first = lines.next().unwrap_or_default();
            picture.push_str(&format!(
                "  {bold}{:<WHO_WIDTH$}{plain}{dim}{time:>TIME_WIDTH$}{plain}  {first}\n",
                hop.who
            ));
            for line in lines {
                picture.push_str(&format!("{:MARGIN$}{line}\n", ""));
            }
        }
    }
    picture.push_str(&format!("\nall of it in {:.0} ms\n", walk.milliseconds));
    picture
}

/// The walk as one JSON object.
pub fn json(walk: &Walk) -> Result<String, Failure> {
    let mut value = serde_json::to_value(walk).map_err(Failure::new)?;
    value["ok"] = true.into();
    serde_json::to_string_pretty(&value).map_err(Failure::new)
}

fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}
