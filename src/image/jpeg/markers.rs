//! The structure of a JPEG file, told by its markers (ITU-T T.81, annex B) without decoding anything.

/// What the markers of a whole JPEG file tell.
#[derive(Debug)]
pub(super) struct Markers<'a> {
    /// Pixels in a row.
    pub width: u16,
    /// Rows.
    pub height: u16,
    /// What the components mean.
    pub colours: Colours,
    /// The EXIF data, without their head.
    pub exif: Option<&'a [u8]>,
    components: Vec<Component>,
    progressive: bool,
    /// How many components each scan holds.
    scans: Vec<usize>,
    /// Whether the file says in only one way what its colours are.
    clear: bool,
}

/// What the components of a picture mean, as libjpeg tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Colours {
    /// Grey levels.
    Grey,
    /// Luma and two differences of colour.
    Ycc,
    /// Red, green, blue.
    Rgb,
    /// Four inks, 255 for none, as Adobe's programs write them and all others after them.
    Cmyk,
    /// Three inks as luma and differences of colour, and black.
    Ycck,
}

#[derive(Clone, Copy, Debug)]
struct Component {
    id: u8,
    /// Samples across and down in a unit of the picture.
    sampling: (u8, u8),
    /// Whether a scan holds it.
    seen: bool,
}

/// The least side of a picture, pixels, on which the fast decoder interpolates colours as libjpeg does.
const PLAIN_SIDE: u16 = 17;
/// The most scans of a picture. Programs write about ten; each takes time for the whole picture, however short it is.
const MAX_SCANS: usize = 512;
const RESTARTS: std::ops::RangeInclusive<u8> = 0xd0..=0xd7;

/// Why a file is refused.
type Refused<T> = Result<T, String>;

impl<'a> Markers<'a> {
    /// Reads them up to the mark of the picture's end.
    ///
    /// # Errors
    /// A file that breaks off before that, or is of a kind that is not read.
    pub fn read(bytes: &'a [u8]) -> Refused<Self> {
        let mut found = Found::default();
        let mut at = 2;
        loop {
            let (marker, behind) = next_marker(bytes, at).ok_or_else(|| found.cut_off())?;
            if marker == 0xd9 {
                return found.whole();
            }
            let head: [u8; 2] = bytes
                .get(behind..behind + 2)
                .and_then(|h| h.try_into().ok())
                .ok_or_else(|| found.cut_off())?;
            let end = behind + usize::from(u16::from_be_bytes(head));
            let body = bytes.get(behind + 2..end.max(behind + 2)).ok_or_else(|| found.cut_off())?;
            found.segment(marker, body)?;
            at = end.max(behind + 2);
        }
    }

    /// Whether the fast decoder is right on it.
    pub fn is_plain(&self) -> bool {
        let Some((first, others)) = self.components.split_first() else { return false };
        if others.is_empty() {
            return self.scans.len() == 1 || self.progressive;
        }
        let (across, down) = first.sampling;
        self.colours == Colours::Ycc
            && self.clear
            && (self.progressive || self.scans == [3])
            && self.width.min(self.height) >= PLAIN_SIDE
            && across.is_power_of_two()
            && down.is_power_of_two()
            && others.iter().all(|component| component.sampling == (1, 1))
    }
}

/// The next marker from `at` on and the place behind it: data between markers, restarts and markers without a
/// segment are passed over.
fn next_marker(bytes: &[u8], mut at: usize) -> Option<(u8, usize)> {
    loop {
        at += memchr::memchr(0xff, bytes.get(at..)?)?;
        let fill = bytes[at..].iter().position(|&byte| byte != 0xff)?;
        let marker = bytes[at + fill];
        at += fill + 1;
        let alone = matches!(marker, 0x00 | 0x01 | 0xd8) || RESTARTS.contains(&marker);
        if !alone {
            return Some((marker, at));
        }
    }
}

/// What was found so far.
#[derive(Default)]
struct Found<'a> {
    frame: Option<Frame>,
    scans: Vec<usize>,
    jfif: bool,
    /// The transform of Adobe's marker.
    adobe: Option<u8>,
    exif: Option<&'a [u8]>,
}

struct Frame {
    width: u16,
    height: u16,
    progressive: bool,
    components: Vec<Component>,
}

impl<'a> Found<'a> {
    fn segment(&mut self, marker: u8, body: &'a [u8]) -> Refused<()> {
        match marker {
            0xc0..=0xc2 => self.frame(marker, body)?,
            0xc3 | 0xc5..=0xc7 | 0xc9..=0xcb | 0xcd..=0xcf => return Err(not_read(kind(marker))),
            0xda => self.scan(body)?,
            0xe0 => self.jfif |= body.starts_with(b"JFIF\0"),
            0xe1 if self.exif.is_none() => self.exif = body.strip_prefix(b"Exif\0\0"),
            0xee if body.starts_with(b"Adobe") => self.adobe = body.get(11).copied().or(self.adobe),
            _ => {}
        }
        Ok(())
    }

    fn frame(&mut self, marker: u8, body: &[u8]) -> Refused<()> {
        let (&[precision, h1, h0, w1, w0, count], rest) = body.split_first_chunk().ok_or_else(damaged)?;
        if precision != 8 {
            return Err(not_read(&format!("with samples of {precision} bits")));
        }
        let components: Vec<Component> = rest
            .chunks_exact(3)
            .map(|c| Component { id: c[0], sampling: (c[1] >> 4, c[1] & 15), seen: false })
            .collect();
        if self.frame.is_some() || components.len() != usize::from(count) || rest.len() % 3 != 0 {
            return Err(damaged());
        }
        if !matches!(count, 1 | 3 | 4) {
            return Err(not_read(&format!("of {count} components")));
        }
        if components.iter().any(|c| !(1..=4).contains(&c.sampling.0) || !(1..=4).contains(&c.sampling.1)) {
            return Err(damaged());
        }
        let (height, width) = (u16::from_be_bytes([h1, h0]), u16::from_be_bytes([w1, w0]));
        if height == 0 {
            return Err(not_read("that does not tell its height first"));
        }
        self.frame = Some(Frame { width, height, progressive: marker == 0xc2, components });
        Ok(())
    }

    fn scan(&mut self, body: &[u8]) -> Refused<()> {
        let frame = self.frame.as_mut().ok_or_else(damaged)?;
        let (&count, rest) = body.split_first().ok_or_else(damaged)?;
        let held: Vec<u8> = rest.chunks_exact(2).take(count.into()).map(|entry| entry[0]).collect();
        if held.is_empty() || held.len() != usize::from(count) {
            return Err(damaged());
        }
        for id in &held {
            let known = frame.components.iter_mut().find(|component| component.id == *id);
            known.ok_or_else(damaged)?.seen = true;
        }
        if self.scans.len() == MAX_SCANS {
            return Err(format!("is a JPEG of more than {MAX_SCANS} scans, which is not read; save it anew"));
        }
        self.scans.push(held.len());
        Ok(())
    }

    fn whole(self) -> Refused<Markers<'a>> {
        let Some(frame) = self.frame else { return Err("is a JPEG without a picture in it".into()) };
        if frame.components.iter().any(|component| !component.seen) {
            return Err("is a JPEG of which a whole component is missing; fetch it again".into());
        }
        let ids: Vec<u8> = frame.components.iter().map(|component| component.id).collect();
        // The order in which libjpeg asks.
        let colours = match (ids.len(), self.jfif, self.adobe) {
            (1, ..) => Colours::Grey,
            (3, true, _) => Colours::Ycc,
            (3, false, Some(0)) => Colours::Rgb,
            (3, false, None) if ids == *b"RGB" => Colours::Rgb,
            (3, ..) => Colours::Ycc,
            (_, _, None | Some(0)) => Colours::Cmyk,
            _ => Colours::Ycck,
        };
        let clear = matches!(self.adobe, None | Some(1)) && ids != *b"RGB";
        let Frame { width, height, progressive, components } = frame;
        Ok(Markers {
            width,
            height,
            colours,
            exif: self.exif,
            components,
            progressive,
            scans: self.scans,
            clear,
        })
    }

    fn cut_off(&self) -> String {
        let part =
            if self.scans.is_empty() { "before its picture begins" } else { "in the middle of its picture" };
        format!("is cut off {part}: a JPEG ends with an end mark, and this one has none; fetch it again")
    }
}

fn damaged() -> String {
    "is a damaged JPEG: its headers contradict each other; fetch it again".into()
}

fn kind(marker: u8) -> &'static str {
    match marker {
        0xc3 => "without loss",
        0xc9 | 0xca => "with arithmetic coding",
        0xcb => "without loss and with arithmetic coding",
        _ => "of the hierarchical kind",
    }
}

fn not_read(kind: &str) -> String {
    format!("is a JPEG {kind}, which is not read; save it as an ordinary JPEG or as PNG")
}
