//! Filters

use std::mem::MaybeUninit;

use crate::{
    border::{ErrorOut, Text, answer, given, parsed},
    failure::Status,
    strings::OwnedText,
};

/// Replaces the placeholders {:name} of a filter expression by values, quoted so that no value can change the meaning
/// of the expression. `values` is a JSON object: with the expression "title = {:title} && likes > {:n}" and the values
/// {"title": "it's", "n": 7}, the filter is "title = 'it\'s' && likes > 7".
///
/// Threads: any. `*filter` is yours: free it with tidings_string_free(). Returns TIDINGS_ERR_INVALID_ARGUMENT when
/// `values` is not a JSON object, a placeholder has no value or no closing brace, or a text contains a NUL.
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
