//! Going down through folders, never in a circle.

use std::collections::HashSet;

use keyhaven_attach::files::NodeId;

/// Deeper than any path of Windows that its own programs can open; every level also holds an open folder.
const DEPTH_MAX: usize = 256;

/// The folders that a walk has been to: each is entered once, which bounds the walk on a damaged drive.
#[derive(Debug, Default)]
pub(crate) struct Descent {
    entered: HashSet<NodeId>,
    depth: usize,
}

impl Descent {
    /// Goes down into a folder; the error says why not.
    pub(crate) fn enter(&mut self, folder: NodeId) -> Result<(), &'static str> {
        if self.depth >= DEPTH_MAX {
            return Err("its folders are nested too deep");
        }
        if !self.entered.insert(folder) {
            return Err("the file system is damaged: this folder is in another place as well");
        }
        self.depth += 1;
        Ok(())
    }

    /// Comes back up.
    pub(crate) fn leave(&mut self) {
        self.depth = self.depth.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn circles_and_bottomless_folders_end() {
        let mut descent = Descent::default();
        assert!(descent.enter(NodeId(1)).is_ok());
        assert!(descent.enter(NodeId(1)).is_err());
        descent.leave();
        assert!(descent.enter(NodeId(1)).is_err());
        let entered = (2..1000).take_while(|number| descent.enter(NodeId(*number)).is_ok());
        assert_eq!(entered.count(), DEPTH_MAX);
    }
}
