//! Standard input, output and error.

use std::{
    io::{self, BufRead, IsTerminal, Write},
    path::Path,
};

use crate::cli::Failure;

/// Longest password in octets.
const PASSWORD_BYTES_MAX: usize = 1024;

/// A line on standard output. Where nobody reads it (a closed pipe) there is nobody to tell.
pub fn say(text: &str) {
    drop(writeln!(io::stdout(), "{text}"));
}

/// The same; whether somebody reads it.
pub fn tell(text: &str) -> bool {
    writeln!(io::stdout(), "{text}").is_ok()
}

/// Octets on standard output, as they are; whether somebody reads them.
pub fn write(octets: &[u8]) -> bool {
    let mut stdout = io::stdout();
    stdout.write_all(octets).and_then(|()| stdout.flush()).is_ok()
}

/// Asks on a terminal whether something is to be done; where there is none, it is.
pub fn confirm(question: &str) -> Result<bool, Failure> {
    if !io::stdin().is_terminal() {
        return Ok(true);
    }
    drop(write!(io::stderr(), "{question} [y/N] "));
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).map_err(Failure::new)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
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
        // Two octets more for the line end, one more to see that it is too long.
        let read = io::stdin().lock().take(PASSWORD_BYTES_MAX as u64 + 3).read_line(&mut line);
        read.map_err(|error| Failure::new(format!("the password cannot be read: {error}")))?;
        line.trim_end_matches(['\r', '\n']).to_owned()
    };
    if password.is_empty() {
        return Err(Failure::new("the password is empty"));
    }
    if password.len() > PASSWORD_BYTES_MAX {
        return Err(Failure::new(format!("the password has more than {PASSWORD_BYTES_MAX} octets")));
    }
    Ok(password)
}

/// A password that is the first line of a file.
pub fn password_in(file: &Path) -> Result<String, Failure> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| Failure::new(format!("{}: {error}", file.display())))?;
    Ok(text.lines().next().unwrap_or("").to_owned())
}

/// A password from the terminal, whatever standard input is.
pub fn ask_password(prompt: &str) -> Result<String, Failure> {
    rpassword::prompt_password(prompt).map_err(|error| {
        Failure::new(format!("there is no terminal to ask for the password ({error}): use --password-file"))
    })
}

/// A password that is to be set. At a prompt it is asked for twice: what was mistyped unseen would lock its owner out.
pub fn read_new_password(prompt: &str) -> Result<String, Failure> {
    let password = read_password(prompt)?;
    if io::stdin().is_terminal() && read_password("The same again: ")? != password {
        return Err(Failure::new("the two passwords differ; nothing was changed"));
    }
    Ok(password)
}
