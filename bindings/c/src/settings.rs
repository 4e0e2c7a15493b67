//! Settings that a host collects in an options object, for a builder that comes later

use crate::{
    border::{answer, given},
    failure::{Error, Status},
};

/// One after the other, for any number of builders.
pub(crate) struct Settings<B>(Vec<Box<dyn Fn(B) -> B>>);

impl<B> Default for Settings<B> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<B> Settings<B> {
    pub(crate) fn add(&mut self, setting: impl Fn(B) -> B + 'static) {
        self.0.push(Box::new(setting));
    }

    pub(crate) fn apply(&self, builder: B) -> B {
        self.0.iter().fold(builder, |builder, setting| setting(builder))
    }
}

/// An options object.
pub(crate) trait Options {
    type Builder;

    fn settings(&mut self) -> &mut Settings<Self::Builder>;
}

/// The body of a setter: one more setting.
pub(crate) fn set<O, S>(options: Option<&mut O>, setting: impl FnOnce() -> Result<S, Error>) -> Status
where
    O: Options,
    S: Fn(O::Builder) -> O::Builder + 'static,
{
    answer(None, || {
        let options = given(options, "options")?;
        options.settings().add(setting()?);
        Ok(())
    })
}
