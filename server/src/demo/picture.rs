//! The walk as a picture in the terminal, or as JSON.

use crate::{
    cli::{Failure, terminal},
    demo::walk::Walk,
};

/// Column in which times end.
const WIDTH: usize = 100;

/// Draws the walk.
pub fn draw(walk: &Walk) -> String {
    let (bold, dim, plain) =
        if terminal::stdout_is_terminal() { ("\x1b[1m", "\x1b[2m", "\x1b[0m") } else { ("", "", "") };
    let mut picture = String::new();
    for leg in &walk.legs {
        picture.push_str(&format!("\n{bold}{}{plain}\n\n", leg.title));
        for (index, hop) in leg.hops.iter().enumerate() {
            if index > 0 {
                picture.push_str(&format!("     {dim}│{plain}\n     {dim}▼{plain}\n"));
            }
            let time = format!("{:.1} ms", hop.milliseconds);
            let room = WIDTH.saturating_sub(hop.who.chars().count() + 2);
            picture.push_str(&format!("  {bold}{}{plain}{dim}{time:>room$}{plain}\n", hop.who));
            for line in wrapped(&hop.what, WIDTH - 8) {
                picture.push_str(&format!("        {line}\n"));
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
