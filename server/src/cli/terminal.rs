//! Standard input, output and error.

use std::io::{self, BufRead, IsTerminal, Write};

use crate::cli::Failure;

/// Longest password in octets.
const PASSWORD_BYTES_MAX: u64 = 1024;

/// A line on standard output. Where nobody reads it (a closed pipe) there is nobody to tell.
pub fn say(text: &str) {
    drop(writeln!(io::stdout(), "{text}"));
}

/// A line on standard error.
pub fn complain(text: &str) {
    drop(writeln!(io::stderr(), "{text}"));
}

/// Whether standard error is a terminal.
pub fn stderr_is_terminal() -> bool {
    io::stderr().is_terminal()
}

/// Whether standard output is a terminal.
pub fn stdout_is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// A password: from a prompt without echo, or the first line of standard input.
pub fn read_password(prompt: &str) -> Result<String, Failure> {
    let password = if io::stdin().is_terminal() {
        rpassword::prompt_password(prompt).map_err(Failure::new)?
    } else {
        use std::io::Read;
        let mut line = String::new();
        io::stdin().lock().take(PASSWORD_BYTES_MAX).read_line(&mut line).map_err(Failure::new)?;
        line.trim_end_matches(['\r', '\n']).to_owned()
    };
    if password.is_empty() {
        return Err(Failure::new("the password is empty"));
    }
    Ok(password)
}
