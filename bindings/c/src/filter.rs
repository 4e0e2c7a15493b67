//! Filters

use std::mem::MaybeUninit;

use crate::{
    border::{ErrorOut, Text, answer, given, parsed},
    failure::Status,
    strings::OwnedText,
};

/// Puts values into the places {:name} of a filter expression, quoted so that no value can change what the expression
/// means. `values` is a JSON object: with the expression "title = {:title} && likes > {:n}" and the values
/// {"title": "it's", "n": 7} the filter is "title = 'it\'s' && likes > 7".
///
/// Threads: any. `*filter` is yours: free it with tidings_string_free(). Returns TIDINGS_ERR_INVALID_ARGUMENT when `values`
/// is not a JSON object, when a place has no value or is not closed, and when a text holds a NUL.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_filter(
    expression: Text<'_>,
    values: Text<'_>,
    filter: Option<&mut MaybeUninit<OwnedText>>,
    error: ErrorOut<'_>,
) -> Status {
    answer(error, || {
        let out = given(filter, "filter")?;
        out.write(OwnedText::NONE);
        let values = given(parsed(values, "values")?, "values")?;
        out.write(OwnedText::new(tidings_core::filter(expression.get("expression")?, values)?));
        Ok(())
    })
}
