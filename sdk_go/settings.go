package sidecar

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
)

const settingPrefix = "KAFKA_SIDECAR_SET_"

// Settings are the lambda's settings: those in the sidecar's config; over them environment variables
// KAFKA_SIDECAR_SET_name (two underscores go one level down); over both [WithSettings].
type Settings struct {
	object []byte
}

// Decode stores the settings in what into points to, as [json.Unmarshal] does.
func (s Settings) Decode(into any) error {
	return json.Unmarshal(s.JSON(), into)
}

// JSON returns the settings as one JSON object.
func (s Settings) JSON() json.RawMessage {
	if len(s.object) == 0 {
		return json.RawMessage("{}")
	}
	return slices.Clone(s.object)
}

// override is one value for the key at a path.
type override struct {
	path  []string
	value any
}

// environmentSettings finds the overrides in the environment, sorted so that its order does not matter.
func environmentSettings(environment []string) ([]override, error) {
	var found []override
	for _, variable := range slices.Sorted(slices.Values(environment)) {
		name, value, _ := strings.Cut(variable, "=")
		key, ours := strings.CutPrefix(name, settingPrefix)
		if !ours {
			continue
		}
		path := strings.Split(key, "__")
		if slices.Contains(path, "") {
			return nil, &SettingsError{name, "a part of the key is empty; name it as in " + settingPrefix + "mongo__url"}
		}
		found = append(found, override{path, settingValue(value)})
	}
	return found, nil
}

// settingValue is what the text says in JSON, or else the text: 5 is a number, "5" is a text, and so is five.
func settingValue(text string) any {
	if value, err := decoded(text); err == nil {
		return value
	}
	return text
}

func decoded(text string) (value any, err error) {
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber() // a large number keeps its digits
	if err := decoder.Decode(&value); err != nil {
		return nil, err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("more than one value")
	}
	return value, nil
}

// layered merges the layers. The keys of the environment are found in any case.
func layered(object string, environment []override, assigned map[string]any) (Settings, error) {
	value, err := decoded(object)
	if object == "" {
		value, err = map[string]any{}, nil
	}
	settings, isObject := value.(map[string]any)
	if err != nil || !isObject {
		return Settings{}, &SettingsError{"the sidecar's settings", "they are no JSON object; see the lambda's settings in its config"}
	}
	for _, over := range environment {
		put(settings, over)
	}
	for key, value := range assigned {
		settings[key] = value
	}
	var merged bytes.Buffer
	encoder := json.NewEncoder(&merged)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(settings); err != nil {
		return Settings{}, &SettingsError{"WithSettings", err.Error()}
	}
	return Settings{bytes.TrimSpace(merged.Bytes())}, nil
}

func put(settings map[string]any, over override) {
	parents, last := over.path[:len(over.path)-1], over.path[len(over.path)-1]
	for _, part := range parents {
		key := spelling(settings, part)
		below, isObject := settings[key].(map[string]any)
		if !isObject { // a plain value is replaced by an object
			below = map[string]any{}
			settings[key] = below
		}
		settings = below
	}
	settings[spelling(settings, last)] = over.value
}

// spelling is how the settings spell a key that may differ in case.
func spelling(settings map[string]any, key string) string {
	if _, exact := settings[key]; exact {
		return key
	}
	var known []string
	for name := range settings {
		if strings.EqualFold(name, key) {
			known = append(known, name)
		}
	}
	if len(known) == 0 {
		return key
	}
	return slices.Min(known)
}
