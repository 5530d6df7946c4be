//! Mounts come and go.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use keyhaven_attach::Shown;
use keyhaven_attach::fuse::{
    MountError, Mounted, Ours, UnmountError, Unmounting, Use, mount_image, process_behind, unmount, users_of,
    wait_for_end,
};
use keyhaven_disk::os::Host;

use crate::place::{Place, is_over};

fn show(place: &Place) -> Mounted {
    let shown = Shown::ReadOnly(Arc::new(vec![7; 8192]));
    mount_image(shown, "volume.img", &place.mountpoint(), &place.options()).unwrap()
}

/// A process that keeps a mount busy by working in it.
struct Sleeper(Child);

impl Sleeper {
    fn start(place: &Place) -> Self {
        let child = Command::new("sleep")
            .arg("60")
            .current_dir(place.mountpoint())
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        Self(child)
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn it_is_in_the_list_of_mounts_under_its_name() {
    let Some(place) = Place::or_skip() else { return };
    let mut mounted = show(&place);
    let ours = Ours::on(&Host::system()).unwrap();
    let own = ours.at(&place.mountpoint()).expect("it is listed");
    assert_eq!(own.mountpoint, place.mountpoint());
    assert_eq!(own.drive, "a test, of \\ names");
    assert_eq!(own.outer, None);
    assert_eq!(process_behind(&place.mountpoint()), Some(std::process::id()));

    mounted.unmount(Unmounting::IfUnused).unwrap();
    assert!(is_over(&mut mounted));
    assert!(
        Ours::on(&Host::system())
            .unwrap()
            .at(&place.mountpoint())
            .is_none()
    );
    assert_eq!(process_behind(&place.mountpoint()), None);
}

#[test]
fn nothing_is_mounted_twice() {
    let Some(place) = Place::or_skip() else { return };
    let _mounted = show(&place);
    let again = mount_image(
        Shown::ReadOnly(Arc::new(vec![7; 8192])),
        "volume.img",
        &place.mountpoint(),
        &place.options(),
    );
    assert!(
        matches!(&again, Err(MountError::AlreadyMounted { source_name, .. }) if source_name.starts_with("keyhaven:")),
        "{again:?}"
    );
}

#[test]
fn it_is_unmounted_when_it_is_dropped() {
    let Some(place) = Place::or_skip() else { return };
    drop(show(&place));
    assert_eq!(fs::read_dir(place.mountpoint()).unwrap().count(), 0);
    drop(show(&place));
}

#[test]
fn it_is_over_when_somebody_else_unmounts_it() {
    let Some(place) = Place::or_skip() else { return };
    let mut mounted = show(&place);
    assert!(!mounted.wait(Duration::ZERO).unwrap());
    unmount(&place.mountpoint(), Unmounting::IfUnused).unwrap();
    assert!(is_over(&mut mounted));
    // What is mounted there afterwards is somebody else's.
    let mut next = show(&place);
    mounted.unmount(Unmounting::IfUnused).unwrap();
    drop(mounted);
    assert!(!next.wait(Duration::ZERO).unwrap());
    assert!(place.mountpoint().join("volume.img").exists());
}

#[test]
fn who_uses_it_is_named_and_keeps_it() {
    let Some(place) = Place::or_skip() else { return };
    let mut mounted = show(&place);
    let sleeper = Sleeper::start(&place);
    let refused = mounted.unmount(Unmounting::IfUnused);
    assert!(matches!(refused, Err(UnmountError::Busy(_))), "{refused:?}");
    let users = users_of(&place.mountpoint());
    let [user] = users.as_slice() else {
        panic!("one process uses it: {users:?}")
    };
    assert_eq!(user.process_id, sleeper.0.id());
    assert_eq!(user.program, "sleep");
    assert_eq!(user.used, Use::WorkingFolder(place.mountpoint()));

    mounted.unmount(Unmounting::Detach).unwrap();
    assert_eq!(
        fs::read_dir(place.mountpoint()).unwrap().count(),
        0,
        "it is out of sight"
    );
    assert!(
        !mounted.wait(Duration::from_millis(50)).unwrap(),
        "the process still has it"
    );
    drop(sleeper);
    assert!(is_over(&mut mounted));
}

#[test]
fn where_nothing_is_mounted_nothing_is_unmounted() {
    let Some(place) = Place::or_skip() else { return };
    let refused = unmount(&place.mountpoint(), Unmounting::IfUnused);
    assert!(refused.is_err(), "{refused:?}");
}

#[test]
fn a_process_is_waited_for() {
    let mut child = Command::new("sleep").arg("60").spawn().unwrap();
    let number = child.id();
    assert!(!wait_for_end(number, Duration::from_millis(20)));
    child.kill().unwrap();
    thread::scope(|scope| {
        scope.spawn(|| child.wait().unwrap());
        assert!(wait_for_end(number, Duration::from_secs(10)));
    });
    assert!(wait_for_end(number, Duration::ZERO), "it is long gone");
}
