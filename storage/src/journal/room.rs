//! Room on the disk, with two floors: below the first no mail is taken, while reading, expunging, what becomes of queued mail,
//! checkpoints and compaction go on; below the second only reading.

use std::sync::atomic::Ordering;

use super::files::Files;
use crate::decide::Need;

/// The second floor is this part of the first, which is a segment: as much as a compaction needs beside what there is.
const SECOND_FLOOR_PART: u64 = 8;

/// How much room there is.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Room {
    /// Below the second floor.
    None,
    /// Below the first floor.
    Little,
    /// Enough.
    #[default]
    Enough,
}

impl Room {
    /// Whether a command may go on.
    pub(crate) fn is_enough_for(self, need: Need) -> bool {
        match need {
            Need::Mail => self == Self::Enough,
            Need::Change => self != Self::None,
        }
    }
}

impl Files {
    /// The room there is now. A disk that does not say is taken to have enough: writing tells.
    pub(crate) fn room(&self) -> Room {
        let room = match self.disk.free_bytes(self.journal_directory()) {
            Ok(free) if free < self.floor_bytes / SECOND_FLOOR_PART => Room::None,
            Ok(free) if free < self.floor_bytes => Room::Little,
            Ok(_) | Err(_) => Room::Enough,
        };
        let before = self.room_seen.swap(room as u8, Ordering::Relaxed);
        match room {
            _ if before == room as u8 => {}
            Room::Enough => tracing::info!(event = "disk_has_room", "mail is taken again"),
            Room::Little => {
                tracing::error!(
                    event = "disk_nearly_full",
                    "no mail is taken until there is room on the disk"
                );
            }
            Room::None => {
                tracing::error!(event = "disk_full", "nothing is written until there is room on the disk");
            }
        }
        room
    }
}
