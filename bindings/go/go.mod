module tidings

go 1.23
