//! How a person gets the rights that drives need, in the words of their system.

/// What to do when a drive may not be read.
pub(crate) const TO_READ_DRIVES: &str = if cfg!(windows) {
    "only administrators may read drives: open the terminal with \"Run as administrator\""
} else {
    "drives can only be read by root: put `sudo` before the command"
};

/// What to do when a drive may not be written.
pub(crate) const TO_WRITE_DRIVES: &str = if cfg!(windows) {
    "only administrators may write drives: open the terminal with \"Run as administrator\""
} else {
    "drives can only be written by root: put `sudo` before the command"
};

/// What to do when a drive is in use.
pub(crate) const TO_FREE_DRIVES: &str = if cfg!(windows) {
    "close all programs and windows that use it; Windows' own drive cannot be freed"
} else {
    "unmount it first; `lsblk` shows where it is mounted"
};
