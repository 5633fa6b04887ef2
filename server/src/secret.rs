//! The server's own secret, made at the first start: `STATE/srs.key`.

use std::{
    fs,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use waypost_auth::{Srs, srs::KEY_BYTES};

/// Where the key of return paths is.
pub(crate) fn srs_key(state_dir: &Path) -> PathBuf {
    state_dir.join("srs.key")
}

/// Reads the key of return paths; makes it where there is none, for this run alone where it cannot be written: a full disk keeps
/// nobody from reading mail. Another key makes the paths that are on their way worthless.
pub(crate) fn srs(state_dir: &Path) -> io::Result<Srs> {
    let path = srs_key(state_dir);
    let key = match fs::read(&path) {
        Ok(key) => key,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let mut key = vec![0; KEY_BYTES];
            getrandom::fill(&mut key).map_err(io::Error::other)?;
            if let Err(error) = write(&path, &key) {
                tracing::warn!(file = %path.display(), %error, "return paths of this run will not be known after it");
            }
            key
        }
        Err(error) => return Err(error),
    };
    let key: [u8; KEY_BYTES] = key
        .try_into()
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it does not hold 32 octets"))?;
    Ok(Srs::new(&key))
}

/// Written beside and renamed, so that there is never half a key.
fn write(path: &Path, key: &[u8]) -> io::Result<()> {
    let new = path.with_extension("key.new");
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(key)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    fs::File::open(path.parent().unwrap_or(path))?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use waypost_mail::{Address, Domain};

    use super::*;

    #[test]
    fn the_key_is_made_once_and_kept_secret() {
        let state = tempfile::tempdir().unwrap();
        let path = |srs: &Srs| {
            let (sender, ours) = (Address::parse("x@far.test").unwrap(), Domain::new("a.test").unwrap());
            srs.forward(&sender, &ours, 1).unwrap()
        };
        let first = path(&srs(state.path()).unwrap());
        assert_eq!(path(&srs(state.path()).unwrap()), first);
        let file = srs_key(state.path());
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        fs::write(&file, "short").unwrap();
        assert_eq!(srs(state.path()).unwrap_err().kind(), io::ErrorKind::InvalidData);
        fs::remove_file(&file).unwrap();
        assert_ne!(path(&srs(state.path()).unwrap()), first);
        let nowhere = state.path().join("nowhere");
        assert_ne!(path(&srs(&nowhere).unwrap()), path(&srs(&nowhere).unwrap()));
    }
}
