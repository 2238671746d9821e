module registrar.test/golden/template

go 1.22
