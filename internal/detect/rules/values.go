package rules

import "math"

// Values are the values of one subject at one time. The zero Values are none;
// one Values may be used again and again, after [Values.Reset].
type Values struct {
	known   uint32 // a bit for each metric that has a value
	value   [metricCount]float64
	listed  bool // devices is all the devices that there are
	devices []deviceValue
}

// deviceValue is a device, and its value where metric is one.
type deviceValue struct {
	name   string
	metric int // place in metrics; -1: no value
	value  float64
}

// Reset forgets every value and device.
func (v *Values) Reset() {
	v.known, v.listed = 0, false
	clear(v.devices) // drops the names
	v.devices = v.devices[:0]
}

// Set takes the value of a metric. One that is not a number or infinite is
// missing, and so is one of a metric that is not known, or that is by device.
func (v *Values) Set(m Metric, value float64) {
	if i, known := byMetric[m]; known && !metrics[i].device {
		v.set(i, value)
	}
}

func (v *Values) set(i int, value float64) {
	if !finite(value) {
		return
	}
	v.known |= 1 << i
	v.value[i] = value
}

// Get returns the value of a metric, and whether there is one.
func (v *Values) Get(m Metric) (float64, bool) {
	i, known := byMetric[m]
	if !known || v.known&(1<<i) == 0 {
		return 0, false
	}
	return v.value[i], true
}

// Device says that the subject has this device. Who names one names all of
// them: a device that is not named then is gone, and its faults are over.
func (v *Values) Device(name string) {
	v.listed = true
	v.devices = append(v.devices, deviceValue{name: name, metric: -1})
}

// NoMoreDevices says that the devices named are all there are, if it is none.
func (v *Values) NoMoreDevices() { v.listed = true }

// SetDevice is Device with the value of a metric that is by device.
func (v *Values) SetDevice(m Metric, name string, value float64) {
	v.Device(name)
	if i, known := byMetric[m]; known && metrics[i].device && finite(value) {
		v.devices[len(v.devices)-1].metric = i
		v.devices[len(v.devices)-1].value = value
	}
}

// GetDevice returns the value of a device, and whether there is one.
func (v *Values) GetDevice(m Metric, name string) (float64, bool) {
	for _, d := range v.devices {
		if d.name == name && d.metric >= 0 && metrics[d.metric].metric == m {
			return d.value, true
		}
	}
	return 0, false
}

func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }
