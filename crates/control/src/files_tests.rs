use std::fs;
use std::path::Path;

use plimsoll_core::document::Span;
use plimsoll_core::filter::{Contents, Held};

use super::*;

/// A file's first word, which may not be `bad`.
struct Word(String);

impl Contents for Word {
    fn parse(text: &str) -> Result<Self, Wrong> {
        if text.trim() == "bad" {
            return Err(Wrong::line(0, "is bad"));
        }
        Ok(Word(text.trim().to_owned()))
    }

    fn entries(&self) -> usize {
        1
    }
}

struct Scene {
    directory: PathBuf,
    files: Files,
}

impl Scene {
    fn new(name: &str) -> Self {
        let directory = std::env::temp_dir().join(format!("plimsoll-files-{}-{name}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        Scene {
            directory,
            files: Files::default(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn slot(&self, path: &Path) -> Arc<dyn Slot> {
        let name = FileName {
            written: path.display().to_string(),
            span: Span::default(),
            path: path.to_owned(),
        };
        self.files.slot(&name, Held::<Word>::slot())
    }

    fn word(&self, slot: &Arc<dyn Slot>) -> Option<String> {
        let slot: Arc<dyn Any + Send + Sync> = slot.clone();
        let held = slot.downcast::<Held<Word>>().unwrap();
        let now = held.now();
        now.as_ref().map(|word| word.0.clone())
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

#[test]
fn a_file_that_takes_the_place_of_another_is_read_at_the_next_look() {
    let scene = Scene::new("rename");
    let (path, new) = (scene.path("a"), scene.path("a.new"));
    fs::write(&path, "one").unwrap();
    let slot = scene.slot(&path);
    assert_eq!(scene.word(&slot).as_deref(), Some("one"));
    fs::write(&new, "two").unwrap();
    fs::rename(&new, &path).unwrap();
    scene.files.look();
    assert_eq!(scene.word(&slot).as_deref(), Some("two"));
}

#[test]
fn a_link_further_up_that_is_changed_is_followed() {
    // As Kubernetes does: `a` leads to `..data/a`, and `..data` to a directory with the time in its name.
    let scene = Scene::new("links");
    for (at, word) in ["one", "two"].iter().enumerate() {
        let directory = scene.path(&format!("..{at}"));
        fs::create_dir(&directory).unwrap();
        fs::write(directory.join("a"), word).unwrap();
    }
    let (data, path) = (scene.path("..data"), scene.path("a"));
    std::os::unix::fs::symlink("..0", &data).unwrap();
    std::os::unix::fs::symlink("..data/a", &path).unwrap();
    let slot = scene.slot(&path);
    assert_eq!(scene.word(&slot).as_deref(), Some("one"));
    std::os::unix::fs::symlink("..1", scene.path("..new")).unwrap();
    fs::rename(scene.path("..new"), &data).unwrap();
    scene.files.look();
    assert_eq!(scene.word(&slot).as_deref(), Some("two"));
}

#[test]
fn a_file_that_is_being_written_is_read_once_it_stays_as_it_is() {
    let scene = Scene::new("editor");
    let path = scene.path("a");
    fs::write(&path, "one").unwrap();
    let slot = scene.slot(&path);
    // The same inode throughout: truncated, then written.
    fs::write(&path, "").unwrap();
    scene.files.look();
    fs::write(&path, "two").unwrap();
    scene.files.look();
    assert_eq!(scene.word(&slot).as_deref(), Some("one"));
    scene.files.look();
    assert_eq!(scene.word(&slot).as_deref(), Some("two"));
}

#[test]
fn what_is_wrong_with_a_new_text_is_told_and_the_old_one_stays() {
    let scene = Scene::new("bad");
    let path = scene.path("a");
    fs::write(&path, "one").unwrap();
    let slot = scene.slot(&path);
    let put = |text: &str| {
        fs::write(scene.path("a.new"), text).unwrap();
        fs::rename(scene.path("a.new"), &path).unwrap();
        scene.files.look();
        scene.files.status().remove(0)
    };
    let good = scene.files.status().remove(0);
    assert_eq!((good.entries, good.error), (1, None));
    let bad = put("bad");
    assert!(bad.error.unwrap().ends_with("a:1: is bad"));
    assert_eq!(bad.loaded_at, good.loaded_at);
    fs::remove_file(&path).unwrap();
    scene.files.look();
    assert!(
        scene.files.status()[0]
            .error
            .as_ref()
            .unwrap()
            .contains("cannot be opened")
    );
    assert_eq!(scene.word(&slot).as_deref(), Some("one"));
    assert_eq!(put("three").error, None);
    assert_eq!(scene.word(&slot).as_deref(), Some("three"));
}

#[test]
fn a_file_is_watched_for_as_long_as_a_generation_names_it() {
    let scene = Scene::new("generations");
    let path = scene.path("a");
    fs::write(&path, "one").unwrap();
    let first = scene.slot(&path);
    scene.files.begin();
    assert!(
        Arc::ptr_eq(&first, &scene.slot(&path)),
        "two filters share what the file holds"
    );
    scene.files.end();
    assert_eq!(scene.files.status().len(), 1);
    scene.files.begin();
    scene.files.end();
    assert!(scene.files.status().is_empty());
}

#[test]
fn a_file_that_is_too_large_is_refused() {
    let scene = Scene::new("large");
    let path = scene.path("a");
    fs::File::create(&path).unwrap().set_len(FILE_BYTES_MAX + 1).unwrap();
    let told = judge(&path, "a", &*Held::<Word>::slot()).unwrap();
    assert_eq!(told, "a: is larger than 16 MiB");
    assert_eq!(scene.word(&scene.slot(&path)), None);
}
