//! The annotated reference: `reference.toml`, where every key stands with what it means and its default.

use crate::reader::nearest;

const REFERENCE: &str = include_str!("../reference.toml");

/// The annotated reference: every key with its meaning and default.
pub fn reference() -> &'static str {
    REFERENCE
}

/// What a key means and its default, from the reference. Keys are written `section.key` (`queue.retry`), a section alone
/// explains all of it. `Err`: the nearest known key, where one is near.
pub fn explain(key: &str) -> Result<String, Option<String>> {
    let entries = entries();
    let below = format!("{key}.");
    let texts: Vec<&str> = entries
        .iter()
        .filter(|(path, _)| path == key || path.starts_with(&below))
        .map(|(_, text)| text.as_str())
        .collect();
    if texts.is_empty() {
        let known = entries.iter().map(|(path, _)| path.as_str());
        return Err(nearest(key, known).map(str::to_owned));
    }
    Ok(texts.join("\n"))
}

/// Each key's path and the lines about it: the comment above it and the key itself, as the reference has them.
fn entries() -> Vec<(String, String)> {
    let mut entries: Vec<(String, String)> = Vec::new();
    let (mut section, mut comment) = (String::new(), String::new());
    for line in REFERENCE.lines() {
        let bare = line.strip_prefix("#=").unwrap_or(line).trim();
        if bare.is_empty() {
            comment.clear();
        } else if let Some(key) = alternative(bare) {
            entries.push((format!("{section}.{key}"), format!("{comment}{line}\n")));
            comment.clear();
        } else if bare.starts_with('#') {
            comment.push_str(line);
            comment.push('\n');
        } else if bare.starts_with('[') {
            section = bare.trim_matches(['[', ']']).to_owned();
            entries.push((section.clone(), format!("{comment}{bare}\n")));
            comment.clear();
        } else if let Some((key, _)) = bare.split_once('=') {
            let path =
                if section.is_empty() { key.trim().to_owned() } else { format!("{section}.{}", key.trim()) };
            entries.push((path, format!("{comment}{bare}\n")));
            comment.clear();
        }
    }
    entries
}

/// The key that a line shows which stands for another one, and so cannot be set beside it: `# keys_url = "…"`.
fn alternative(line: &str) -> Option<&str> {
    let (key, _) = line.strip_prefix("# ")?.split_once(" = ")?;
    key.bytes().all(|octet| octet.is_ascii_lowercase() || octet == b'_').then_some(key)
}
