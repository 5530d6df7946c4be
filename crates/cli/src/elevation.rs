//! How a person gets at drives, in the words of their system: by which rights, by which name, out of whose use.

/// What to do when a drive may not be read.
pub(crate) const TO_READ_DRIVES: &str = if cfg!(windows) {
    "only administrators may read drives: open the terminal with \"Run as administrator\""
} else {
    "drives can only be read by root: put `sudo` before the command"
};

/// What to do when no drive is seen.
pub(crate) const TO_SEE_DRIVES: &str = if cfg!(windows) {
    "Name a drive, or open the terminal with \"Run as administrator\" to see those of this computer."
} else {
    "Name a drive, or use `sudo` to see those of this computer."
};

/// What to do when a drive may not be written.
pub(crate) const TO_WRITE_DRIVES: &str = if cfg!(windows) {
    "only administrators may write drives: open the terminal with \"Run as administrator\""
} else {
    "drives can only be written by root: put `sudo` before the command"
};

/// What to do when a folder was named, not the drive that it is on.
pub(crate) const TO_NAME_DRIVES: &str = if cfg!(windows) {
    "name the drive (`E:`), or an image file"
} else {
    "name the device that is mounted there (`lsblk` shows it), or an image file"
};

/// What to look at when a drive or an image is in use.
pub(crate) const TO_FIND_USERS: &str = if cfg!(windows) {
    "close all programs and windows that use it; another Keyhaven may be writing it"
} else {
    "`lsblk` and `mount` show what is mounted; another Keyhaven may be writing it"
};

/// What to do when a drive is in use.
pub(crate) const TO_FREE_DRIVES: &str = if cfg!(windows) {
    "close all programs and windows that use it; Windows' own drive cannot be freed"
} else {
    "unmount it first; `lsblk` shows where it is mounted"
};
