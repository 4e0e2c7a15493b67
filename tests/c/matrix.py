"""Writes a C program that calls every function of tidings.h with arguments that are NULL, garbage or closed.

Each argument in turn takes each value that its type allows, with the others as they should be, and then all of them at
random. Wherever NULL is not allowed it must be answered with TIDINGS_ERR_NULL_ARGUMENT, and text that is not UTF-8 with
TIDINGS_ERR_INVALID_UTF8; nothing may crash; what a function that fails should have given must be NULL or 0; and user data
must be dropped exactly once. What this does not know (a new type, say) is an error here, and not left out.
"""

import random
import re
import sys

# Arguments that may be NULL, by their name; all others may not.
NULLABLE = {"options", "error", "callback", "user_data", "drop", "count", "len", "response", "body",
            "wanted", "cancelled"}
NULLABLE_IN = {
    ("tidings_client_subscribe", "id"),
    ("tidings_client_subscribe_topic", "id"),
    ("tidings_client_unsubscribe_collection", "topic"),
    ("tidings_client_send_async", "id"),
    ("tidings_client_auth_with_password_async", "id"),
    ("tidings_client_auth_refresh_async", "id"),
    ("tidings_client_subscribe_async", "id"),
    ("tidings_client_prove_async", "id"),
    ("tidings_client_subscribe_async", "collection"),
    ("tidings_client_auth_with_password", "record"),
    ("tidings_client_auth_with_oauth2", "record"),
    ("tidings_client_auth_refresh", "record"),
    ("tidings_client_set_token", "token"),
    ("tidings_client_set_token", "record"),
    ("tidings_client_options_set_token_record", "record"),
    ("tidings_client_options_set_proxy", "url"),
    ("tidings_source_options_set_proxy", "url"),
    ("tidings_token_request_answer", "token"),
}
# An options object is the subject of its own functions.
SUBJECT = re.compile(r"tidings_(client|subscribe|watch|request|source)_options_")

# What is right for an argument that is text, where it matters.
TEXT = {
    "url": "URL", "topic": '"*"', "method": '"GET"', "path": '"/api/health"', "body": '"{}"',
    "expression": '"a = {:a}"', "values": '"{\\"a\\": 1}"', "record": '"{}"', "name": '"X-Name"',
    "fields": '"-title"', "relations": '"author"', "identity": '"ada@example.com"', "password": '"secret"', "provider": '"nowhere"',
}
BAD_TEXT = ['NULL', '"\\xff\\xfe"', '""', '"a b\\n\\t\\x01"', "LONG"]
NUMBER = {
    "uint64_t": ["1000", "0", "1", "UINT64_MAX"],
    "size_t": ["1", "0", "4097", "SIZE_MAX"],
    # Never negative, which would be for ever.
    "int64_t": ["0", "1"],
    "uint16_t": ["0", "65535"],
    "uint32_t": ["1", "0", "UINT32_MAX"],
    "bool": ["true", "false"],
}
# How an object is made; the first is as it should be.
MADE = {
    "tidings_client": ["new_client()", "NULL", "new_closed_client()"],
    "tidings_client_options": ["tidings_client_options_new()", "NULL"],
    "tidings_subscribe_options": ["new_subscribe_options()", "NULL"],
    "tidings_request_options": ["tidings_request_options_new()", "NULL"],
    "tidings_source_options": ["tidings_source_options_new()", "NULL"],
    "tidings_batch": ["tidings_batch_new()", "NULL", "new_full_batch()"],
    "tidings_event": ["new_event()", "NULL"],
    "tidings_error": ["new_error()", "NULL"],
    "tidings_strings": ["new_strings()", "NULL"],
    "tidings_state_info": ["new_state()", "NULL"],
    "tidings_response": ["new_response()", "NULL"],
    "tidings_source": ["new_source()", "NULL", "new_closed_source()"],
    "tidings_source_event": ["new_source_event()", "NULL"],
    "tidings_token_request": ["new_token_request()", "NULL"],
    "tidings_watch_options": ["new_watch_options()", "NULL"],
    "tidings_view": ["new_view()", "NULL", "new_closed_view()"],
    "tidings_rows": ["new_rows()", "NULL"],
    "tidings_changes": ["new_changes()", "NULL"],
}
# What a callback is lent, and so is never freed.
LENT = {"tidings_source_request": ["lent_request", "NULL"]}
CONSUMES = re.compile(r"_free$|^tidings_token_request_(answer|fail)$")
ENUMS = ["status", "action", "state", "gap_reason", "reason", "subscription_state", "overflow", "source_kind", "log_level",
         "freshness", "delta_kind", "remove_reason"]
RANDOM_CALLS = 8


def functions(header):
    text = re.sub(r"^\s*//.*$", "", header, flags=re.M)
    text = re.sub(r"^\s*#.*$", "", text, flags=re.M)
    text = re.sub(r"typedef[^;{]*(\{[^}]*\})?[^;]*;", "", text)
    for found in re.finditer(r"([\w ]+[ *]+)(tidings_\w+)\(([^)]*)\);", text):
        returns, name, arguments = (" ".join(part.split()) for part in found.groups())
        parsed = []
        for argument in arguments.split(","):
            if argument.strip() in ("void", ""):
                continue
            kind, stars, what = re.fullmatch(r"\s*(?:const )?(?:struct )?(\w+) (\**)(\w+)\s*", argument).groups()
            parsed.append((kind, len(stars), what, "const " in argument))
        yield returns, name, parsed


def values(function, kind, stars, what):
    """The values of an argument as C expressions, the right one first."""
    if kind == "char" and stars == 1 and function == "tidings_string_free":
        return ["new_string()", "NULL"]
    if kind == "char" and stars == 1:
        return [TEXT.get(what, '"posts"')] + BAD_TEXT
    if kind == "void" and what == "user_data":
        return ["&counter"]
    if what == "buffer":
        return ["room", "NULL"]
    if what == "ids":
        return ["room_of_ids", "NULL"]
    if function == "tidings_client_next_packed" and what == "size":
        return ["sizeof room", "0", "8"]
    if function == "tidings_client_ready" and what == "most":
        return ["64", "1", "0"]
    if kind == "void" and stars == 1:
        return ["BYTES", "NULL"]
    if kind == "tidings_drop_callback":
        return ["count_drop", "NULL"]
    if kind.endswith("_callback"):
        return [f"ignore_{kind[len('tidings_'):-len('_callback')]}", "NULL"]
    if kind == "tidings_stats":
        return ["&stats", "NULL"]
    if stars == 2 or (stars == 1 and kind in ("uint64_t", "size_t", "bool")):
        return [f"&out_{what}", "NULL"]
    if stars == 1:
        return MADE.get(kind) or LENT[kind]
    if kind in NUMBER:
        if kind == "size_t" and (what == "len" or what.endswith("_len")):
            return ["sizeof BYTES", "0"]
        if kind == "size_t" and what == "size":
            return ["sizeof stats", "0", "8", "7", "SIZE_MAX"]
        return NUMBER[kind]
    if kind.removeprefix("tidings_") in ENUMS:
        return [f"({kind}){number}" for number in (1, 0, -1, 99, 2147483647)]
    raise SystemExit(f"matrix.py does not know {kind} {'*' * stars}{what} of {function}")


def may_be_null(function, what):
    if what == "options" and SUBJECT.match(function):
        return False
    if function == "tidings_client_auth_with_oauth2" and what == "open":
        return False
    if what == "body" and function == "tidings_request_options_set_body":
        return False
    return what in NULLABLE or (function, what) in NULLABLE_IN


def call(returns, name, arguments, chosen, wanted):
    """One call, in a block of its own."""
    lines, passed, after = [], [], []
    has_drop = any(kind == "tidings_drop_callback" and value != "NULL" for (kind, *_), value in zip(arguments, chosen))
    for number, ((kind, stars, what, is_const), value) in enumerate(zip(arguments, chosen)):
        if value.startswith("&out_") and stars == 2:
            lines.append(f"        {kind} *out_{what} = ({kind} *)&counter;")
        elif value.startswith("&out_"):
            lines.append(f"        {kind} out_{what} = 1;")
        is_object = stars == 1 and kind in MADE
        if is_object or (kind == "char" and name == "tidings_string_free"):
            lines.append(f"        {kind} *a{number} = {value};")
            passed.append(f"a{number}")
            if not CONSUMES.search(name) and is_object:
                after.append(f"        {kind}_free(a{number});")
        else:
            passed.append(value)
        if stars == 2 and value != "NULL":
            free = "tidings_string_free" if kind == "char" else f"{kind}_free"
            after.insert(0, f"        {free}(out_{what});")
    # What is freed must not be read first: results that are borrowed come before.
    result = f"{name}({', '.join(passed)})"
    outs = [f"out_{what}" for (kind, stars, what, _), value in zip(arguments, chosen)
            if value.startswith("&out_") and what != "error"]
    if returns == "tidings_status":
        lines.append(f"        tidings_status status = {result};")
        lines.append(f'        CHECK(status >= TIDINGS_OK && status < TIDINGS_ERR_PANIC);')
        if outs:
            lines.append(f"        CHECK(status == TIDINGS_OK || ({' && '.join('!' + out for out in outs)}));")
        if "&out_error" in chosen:
            lines.append("        CHECK((out_error == NULL) == (status == TIDINGS_OK));")
            lines.append("        CHECK(tidings_error_status(out_error) == status);")
        if wanted:
            lines.append(f'        WANTED(status, {wanted});')
    elif returns == "const char *":
        lines.append(f"        touch({result});")
    elif returns == "void *":
        lines.append(f"        (void){result};")
    elif returns.endswith("*") and not returns.startswith("const"):
        lines.append(f"        {returns.strip(' *')}_free({result});")
    elif returns == "void":
        lines.append(f"        {result};")
    else:
        lines.append(f"        (void){result};")
    if has_drop:
        lines.append("        wanted_drops++;")
    return "\n".join(["    {", f'        HERE("{name}");', *lines, *after, "    }"])


def wanted_status(returns, name, arguments, chosen, changed):
    """What one wrong argument must be answered with."""
    if returns != "tidings_status" or changed is None:
        return None
    kind, stars, what, _ = arguments[changed]
    if chosen[changed] == "NULL" and not kind.endswith("_callback") and not may_be_null(name, what):
        return "TIDINGS_ERR_NULL_ARGUMENT"
    if kind == "tidings_open_callback" and chosen[changed] == "NULL":
        return "TIDINGS_ERR_NULL_ARGUMENT"
    if chosen[changed] == BAD_TEXT[1]:
        return "TIDINGS_ERR_INVALID_UTF8"
    return None


def main(header, out):
    dice = random.Random(1)
    groups, calls = [], 0
    for returns, name, arguments in functions(open(header).read()):
        choices = [values(name, kind, stars, what) for kind, stars, what, _ in arguments]
        right = [choice[0] for choice in choices]
        rows = [(right, None)]
        for index, choice in enumerate(choices):
            rows += [(right[:index] + [value] + right[index + 1:], index) for value in choice[1:]]
        if len(arguments) > 1:
            rows += [([dice.choice(choice) for choice in choices], None) for _ in range(RANDOM_CALLS)]
        body = []
        for chosen, changed in rows:
            # A length that does not go with its bytes is a lie that no library can see through.
            for index, (kind, stars, what, _) in enumerate(arguments):
                if (what == "ids" or kind == "void" and stars == 1 and what != "user_data") and chosen[index] == "NULL":
                    wanted = "TIDINGS_ERR_NULL_ARGUMENT" if chosen[index + 1] != "0" else None
                    break
            else:
                wanted = wanted_status(returns, name, arguments, chosen, changed)
            if changed is None:
                wanted = None
            if "&stats" in chosen and chosen[2] == "SIZE_MAX":
                wanted = "TIDINGS_ERR_INVALID_ARGUMENT" if changed is not None else None
            body.append(call(returns, name, arguments, chosen, wanted))
        calls += len(body)
        groups.append((name, body))
    with open(out, "w") as file:
        file.write(f'// Written by matrix.py: {len(groups)} functions, {calls} calls.\n#include "matrix.h"\n\n')
        for name, body in groups:
            file.write(f"static void call_{name}(void) {{\n" + "\n".join(body) + "\n}\n\n")
        file.write("int main(void) {\n    begin();\n")
        file.writelines(f"    call_{name}();\n" for name, _ in groups)
        file.write("    return end();\n}\n")
    print(f"  matrix: {len(groups)} functions, {calls} calls")


if __name__ == "__main__":
    main(*sys.argv[1:])
