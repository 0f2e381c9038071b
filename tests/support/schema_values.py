"""Values made from JSON schemas: such that fit, and such that nearly do.

    maker = Maker(random.Random(7), resolve, known={"agent_id": [...]})
    maker.fitting(schema, "agent_id")
    maker.text(value)          # as JSON, now and then as nobody would write it

The same seed makes the same values.
"""

import datetime
import json
import uuid

HUGE = ["1e400", "-0.0", "9" * 400, "1" + "0" * 30, "0.1234567890123456789012345", "-9223372036854775809", "18446744073709551616", "NaN", "01", "+1", "1.", ".5"]
TEXTS = ["", " ", "\0", "\u0000x", "\ud800", "\udfff\ud800", "\ufeff", "é" * 200, "a" * 70_000, "'; DROP TABLE agents; --", "%00", "../../etc/passwd", "\u202e", "\r\nX: y", "null", "🦉" * 100]
OTHERS = [None, True, False, 0, -1, 2**31, 2**63, 1.5, "", "x", [], {}, [[]], {"": None}]
EPOCH = datetime.datetime(2026, 11, 1, tzinfo=datetime.timezone.utc)


class Raw(str):
    """Text that stands in JSON as it is."""


class Maker:
    """Makes values from one source of chance. `known` has values that exist, by the names of fields."""

    def __init__(self, chance, resolve, known):
        self.chance, self.resolve, self.known = chance, resolve, known

    # --- what fits ----------------------------------------------------------------------------------------------------

    def fitting(self, schema, name="", depth=0):
        """A value that the schema allows."""
        schema = self.resolve(schema)
        for word in ("oneOf", "anyOf"):
            if word in schema:
                return self.fitting(self.chance.choice(schema[word]), name, depth)
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return self.chance.choice(schema["enum"])
        if name in self.known and self.chance.random() < 0.8:
            return self.chance.choice(self.known[name])
        if "examples" in schema and self.chance.random() < 0.3:
            return self.chance.choice(schema["examples"])
        kind = schema.get("type")
        if isinstance(kind, list):
            kind = self.chance.choice(kind)
        made = {"object": self._object, "array": self._array, "string": self._string, "integer": self._integer, "number": self._number,
                "boolean": lambda *_: self.chance.random() < 0.5, "null": lambda *_: None}
        return made.get(kind, self._anything)(schema, depth)

    def _anything(self, _, depth):
        return self.chance.choice(["x", 1, None, True, [1], {"a": 1}]) if depth < 4 else None

    def _object(self, schema, depth):
        out = {}
        for name, field in schema.get("properties", {}).items():
            if name in schema.get("required", []) or self.chance.random() < (0.5 if depth < 3 else 0):
                out[name] = self.fitting(field, name, depth + 1)
        others = schema.get("additionalProperties")
        if isinstance(others, dict) and depth < 4:
            for _ in range(self.chance.randrange(3)):
                out[self.chance.choice("abcdefgh") * self.chance.randint(1, 8)] = self.fitting(others, "", depth + 1)
        elif others is not False and "properties" not in schema and depth < 4:
            out["k"] = self._anything(schema, depth + 1)
        return out

    def _array(self, schema, depth):
        least = schema.get("minItems", 0)
        count = self.chance.randint(least, min(schema.get("maxItems", 3), least + 3))
        return [self.fitting(schema.get("items", {}), "", depth + 1) for _ in range(count)]

    def _string(self, schema, _):
        kind = schema.get("format")
        if kind == "uuid":
            return str(uuid.UUID(int=self.chance.getrandbits(128), version=4))
        if kind == "date-time":
            return (EPOCH + datetime.timedelta(microseconds=self.chance.randrange(40 * 86_400_000_000))).isoformat().replace("+00:00", "Z")
        least, most = schema.get("minLength", 0), schema.get("maxLength", 12)
        return "".join(self.chance.choice("abcdefghijklmnopqrstuvwxyz0123456789 -_é") for _ in range(self.chance.randint(max(least, 1), max(least, min(most, 12), 1)))).strip() or "a" * max(least, 1)

    def _integer(self, schema, _):
        least = schema.get("minimum", 0)
        most = schema.get("maximum", least + 1000)
        return self.chance.choice([least, most, self.chance.randint(int(least), int(min(most, least + 1000)))])

    def _number(self, schema, _):
        least = schema.get("minimum", schema.get("exclusiveMinimum", 0))
        return round(self.chance.uniform(float(least) + 0.001, float(least) + 10), self.chance.randrange(9))

    # --- what nearly fits ---------------------------------------------------------------------------------------------

    def changed(self, value):
        """The value with one fault somewhere, mostly."""
        chance = self.chance
        if isinstance(value, dict) and value and chance.random() < 0.8:
            value = dict(value)
            name = chance.choice(list(value))
            action = chance.random()
            if action < 0.12:
                del value[name]
            elif action < 0.24:
                value[chance.choice([name + "x", "", name.upper(), "__proto__", "\0", "é" * 300])] = value[name]
            else:
                value[name] = self.changed(value[name])
            return value
        if isinstance(value, list) and value and chance.random() < 0.8:
            at = chance.randrange(len(value))
            return value[:at] + chance.choice([[], [self.changed(value[at])], [value[at]] * chance.choice([2, 60])]) + value[at + 1:]
        if isinstance(value, int) and not isinstance(value, bool) and chance.random() < 0.5:
            return chance.choice([value - 1, value + 1, -value - 1, value * 10**12, float(value), str(value)])
        if isinstance(value, str) and chance.random() < 0.4:
            at = chance.randrange(len(value) + 1)
            return value[:at] + chance.choice(["\0", "\ud83d", "é", "x" * 300, "\n", "%", "\u2028"]) + value[at:]
        return chance.choice([chance.choice(OTHERS), chance.choice(TEXTS), Raw(chance.choice(HUGE)), self._deep()])

    def _deep(self):
        depth = self.chance.choice([20, 200, 5_000])
        return Raw("[" * depth + "1" + "]" * depth) if self.chance.random() < 0.5 else Raw('{"a":' * depth + "1" + "}" * depth)

    # --- text ---------------------------------------------------------------------------------------------------------

    def text(self, value, strange=False):
        """The value as JSON; `strange`: with a name twice, blanks and escapes where none need be, or bytes that are no text."""
        if isinstance(value, Raw):
            return value
        if isinstance(value, dict):
            members = [f"{self._string_text(name, strange)}:{self.text(one, strange)}" for name, one in value.items()]
            if strange and members and self.chance.random() < 0.15:
                members.append(self.chance.choice(members))
            return "{" + ",".join(members) + "}"
        if isinstance(value, list):
            return "[" + ",".join(self.text(one, strange) for one in value) + "]"
        if isinstance(value, str):
            return self._string_text(value, strange)
        return json.dumps(value)

    def _string_text(self, value, strange):
        if strange and self.chance.random() < 0.1:
            return '"' + "".join(f"\\u{ord(letter):04x}" if ord(letter) < 0x10000 else letter for letter in value) + '"'
        return json.dumps(value, ensure_ascii=self.chance.random() < 0.5)
